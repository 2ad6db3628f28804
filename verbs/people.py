"""Answers that people rank: a collection puts its questions on disk, stops, and continues once the votes are there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence

from rlhf.config import CollectConfig
from rlhf.data.records import Prompt, asked
from rlhf.errors import DataError, WaitsForPeople
from rlhf.labelling.export import comparisons_of
from rlhf.labelling.vote_log import FILE as VOTES
from rlhf.labelling.vote_log import Line, read_votes, standing
from rlhf.runs import Run, atomic_write_text
from rlhf.runs.files import json_line, writing

QUESTIONS, FOLDER = "questions.jsonl", "votes"

log = logging.getLogger("rlhf")


def compared_by_people(
    config: CollectConfig, run: Run, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
) -> list[str]:
    """What people said of the answers: a line of `preferences.jsonl` for each vote.

    Raises:
        WaitsForPeople: they have not judged enough of the prompts; the sentence says where they can.
    """
    questions, folder = run.dir / QUESTIONS, run.dir / FOLDER
    asked_of = [(prompt, texts) for prompt, texts in zip(prompts, answers, strict=True) if len(texts) > 1]
    lines = [json_line({**asked(prompt), "responses": list(texts)}) for prompt, texts in asked_of]
    with writing(questions):
        atomic_write_text(questions, "".join(lines))
    votes = list(standing(read_votes(folder / VOTES))) if (folder / VOTES).exists() else []
    judged = judged_prompts(votes) & {_key(asked(prompt)) for prompt, _ in asked_of}
    share = len(judged) / len(asked_of) if asked_of else 1.0
    if share < config.collect.answered:
        where = f"path={os.path.relpath(questions)} out={os.path.relpath(folder)}"
        again = "" if config.resume else " with resume=true"
        raise WaitsForPeople(
            f"collect.annotator: people have judged {len(judged)} of {len(asked_of)} prompts, and "
            f"{config.collect.answered:.0%} are wanted; run python label.py {where} and then this command "
            f"again{again}, or lower collect.answered"
        )
    lines = [json.dumps(record, ensure_ascii=False) for record in comparisons_of(votes)]
    if not lines:
        raise DataError(f"{folder / VOTES}: no vote says which of two answers is better; nothing to train on")
    log.info("people have judged %d of %d prompts", len(judged), len(asked_of))
    return lines


def judged_prompts(votes: Iterable[Line]) -> set[str]:
    """The prompts of which somebody has said something, be it that they can't tell."""
    return {_key({name: value for name, value in line.items() if name in ("prompt", "tools")}) for line in votes}


def _key(question: dict[str, object]) -> str:
    return json.dumps(question, sort_keys=True, ensure_ascii=False)
