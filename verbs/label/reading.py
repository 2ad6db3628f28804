"""What is asked: questions from files of answers, from evaluations, and from a run's samples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.data.files.values import BadRecord, Raw, data_files, raw_values
from rlhf.data.formats.meaning import TOLERATED
from rlhf.data.formats.parse import parse
from rlhf.data.records import Kind, Prompt, Record
from rlhf.errors import ConfigError, DataError
from rlhf.labelling.questions import Answers, Question, answers_of, checks_of, questions_of
from rlhf.reporting.run_files import read_samples

log = logging.getLogger("rlhf")


def answers_in(path: Path) -> list[Answers]:
    """The answers of each record of a file or a folder of files, in order, whatever is said of them.

    Raises:
        DataError: `file:line`, of a record that can't be read.
    """
    left_out: Counter[str] = Counter()
    found = [answers for file in data_files(path) for raw in raw_values(file) for answers in _answers(raw, left_out)]
    for reason, n in left_out.items():
        log.warning("%s: %d records are left out: %s", path, n, reason)
    return found


def questions_in(path: Path, task: str, seed: int) -> list[Question]:
    """The questions about the answers in a file or a folder of files.

    Raises:
        DataError: `file:line`, of a record that can't be read; or there is nothing to ask.
    """
    questions = questions_of(answers_in(path), task, seed)
    if not questions:
        needs = "an answer" if task == "thumbs" else "two different answers to one prompt"
        raise DataError(f"path: {path} has no record with {needs}; nothing to ask")
    return questions


def _answers(raw: Raw, left_out: Counter[str]) -> Iterator[Answers]:
    if raw.error is not None:
        raise DataError(f"{raw.place}: {raw.error}")
    if isinstance(raw.value, dict) and isinstance(raw.value.get("answers"), dict):
        yield _of_evaluation(raw.place, raw.value)
        return
    first: BadRecord | None = None
    kinds: tuple[Kind, ...] = ("labels", "demonstrations")
    for kind in kinds:
        records: list[Record] = []
        for found in parse(unranked(raw.value), kind):
            if isinstance(found, BadRecord):
                first = first or found
            else:
                records.append(found)
        if records:
            yield from (answers for record in records if (answers := answers_of(record)) is not None)
            return
    if first is not None and first.reason in TOLERATED:
        left_out[first.reason] += 1
        return
    raise DataError(f"{raw.place}: {first or 'no answer in it'}")


def unranked(value: Any) -> Any:
    """A record whose `responses` nobody ranked yet, as texts or as objects without a rank, with a tie between all."""
    if not isinstance(value, dict) or not isinstance(value.get("responses"), list):
        return value
    entries = [{"text": entry} if isinstance(entry, str) else entry for entry in value["responses"]]
    if any(isinstance(entry, dict) and "rank" in entry for entry in entries):
        return value
    return {
        **value,
        "responses": [
            {"text": entry.get("text"), "rank": 1} if isinstance(entry, dict) else entry for entry in entries
        ],
    }


def _of_evaluation(place: str, value: dict[str, Any]) -> Answers:
    """A line of an evaluation's `answers.jsonl`: who wrote an answer is known, and hidden."""
    try:
        prompt = Prompt(tuple((str(role), str(text)) for role, text in value["prompt"]))
        texts = {str(name): str(answer["response"]) for name, answer in value["answers"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place}: not a line of an evaluation's answers.jsonl") from error
    names: dict[str, str] = {}
    for name, text in texts.items():
        # Two models that wrote the same are no question between them.
        if text.strip() and text not in names:
            names[text] = name
    return Answers(prompt, tuple(names), tuple(names.values()))


def checks_in(run: Path, seed: int) -> list[Question]:
    """Spot checks of a run's own samples.

    Raises:
        ConfigError: it has no samples with scores, or only one for each prompt.
    """
    samples = read_samples(run)
    scored = [sample for sample in samples if isinstance(sample.get("score"), int | float)]
    if not scored:
        raise ConfigError(
            f"run: {run} has no samples.jsonl with scores; pass a run whose algorithm scores its samples, such as ppo"
        )
    questions = checks_of(scored, seed)
    if not questions:
        raise ConfigError(f"run: {run} has no prompt with two samples of different scores; nothing to compare")
    return questions
