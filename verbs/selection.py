"""Which pairs of answers an annotator is asked about: `collect.select`."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from rlhf.config import CollectConfig
from rlhf.data.batch import collate, microbatches
from rlhf.data.row import Row
from rlhf.errors import DataError
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.labelling.questions import Answers
from rlhf.labelling.selection import BY_SCORES, Pair, choose, pair_id
from rlhf.progress import ProgressBar
from rlhf.runs import Run
from verbs.finished_model import Loaded, load_reward_judge
from verbs.label.reading import answers_in

TOKENS = 4096
"""Tokens that are read at once."""

log = logging.getLogger("rlhf")


def selected(
    config: CollectConfig, run: Run, pool: Sequence[Answers], loaded: Loaded | None
) -> tuple[list[Answers], dict[str, float]]:
    """The pairs to ask about, each as a prompt with two answers in the pool's order of prompts, and figures about them.

    Raises:
        DataError: nothing is left to ask about.
        ParentError: a member of the ensemble can't be read, or gives no finite score.
    """
    settings = config.collect
    assert settings.select is not None and settings.comparisons is not None
    scores = _scores(config, run, pool) if settings.select in BY_SCORES else []
    known = {name for path in settings.exclude for one in answers_in(Path(path)) for name in _ids(one)}
    features = None if loaded is None else _features(loaded, pool)
    pairs = choose(
        settings.select,
        pool,
        settings.comparisons,
        config.seed,
        scores=scores,
        features=features if settings.select == "diverse" else None,
        known=known,
    )
    if not pairs:
        raise DataError("collect.select: no pair of different answers is left that was not asked about before")
    if len(pairs) < settings.comparisons:
        log.warning(
            "collect.comparisons: %d pairs were wanted, and there are %d that were not asked about before",
            settings.comparisons,
            len(pairs),
        )
    figures = {"pool": float(len(pool))}
    if settings.select in BY_SCORES:
        name = "selected_variance" if settings.select == "disagreement" else "selected_margin"
        figures[name] = abs(statistics.fmean(pair.value for pair in pairs))
    questions = []
    for pair in sorted(pairs, key=lambda pair: pair.place):
        answers = pool[pair.place]
        places = pair.first, pair.second
        sources = tuple(answers.sources[i] for i in places) if answers.sources else ()
        questions.append(replace(answers, texts=tuple(answers.texts[i] for i in places), sources=sources))
    return questions, figures


def _ids(answers: Answers) -> list[str]:
    return [pair_id(answers, *places) for places in combinations(range(len(answers.texts)), 2)]


def _scores(config: CollectConfig, run: Run, pool: Sequence[Answers]) -> list[Tensor | None]:
    """Of each prompt's answers by the members, [K, A]; `None` where one of them can't be scored."""
    prompts = [one.prompt for one in pool for _ in one.texts]
    texts = [text for one in pool for text in one.texts]
    members = []
    for place in range(len(config.collect.ensemble)):
        key = f"collect.ensemble.{place}"
        judge = load_reward_judge(key, run.parents[key], config.strategy)
        members.append(iter(judge.scores(prompts, texts)))
        if wrong := check_scores(key, judge):
            log.warning(
                "%s: the reward model gives NaN or infinity to %d answers; they are not asked about", key, wrong
            )
    found: list[Tensor | None] = []
    for one in pool:
        scores = [[next(member) for _ in one.texts] for member in members]
        known = [[score for score in mine if score is not None] for mine in scores]
        found.append(torch.tensor(known) if all(len(mine) == len(one.texts) for mine in known) else None)
    return found


def _features(loaded: Loaded, pool: Sequence[Answers]) -> Callable[[Sequence[Pair]], Tensor]:
    """Mean state of the policy's last layer over both answers' tokens, given the prompt: [N, D], fp32, on the CPU."""
    known: dict[str, Tensor] = {}

    def row_of(pair: Pair, index: int) -> Row:
        answers, template = pool[pair.place], loaded.template
        texts = [answers.texts[pair.first], answers.texts[pair.second]]
        responses = [tuple(template.response(text)[: loaded.max_new_tokens]) for text in texts]
        room = loaded.max_length - max(map(len, responses))
        return Row(template.prompt(answers.prompt, room).ids, tuple(responses), index=index)

    @torch.no_grad()
    def features(pairs: Sequence[Pair]) -> Tensor:
        new = [pair for pair in pairs if pair.id not in known]
        rows = [row_of(pair, index) for index, pair in enumerate(new)]
        device = next(loaded.policy.parameters()).device
        with ProgressBar("reading pairs", len(rows)) as progress:
            for micro in microbatches(rows, TOKENS):
                states = loaded.policy.target_states(collate(micro).to(device)).float()
                for row, mine in zip(micro, states.split([row.n_targets for row in micro]), strict=True):
                    known[new[row.index].id] = mine.mean(0).cpu()
                progress(progress.done + len(micro))
        return torch.stack([known[pair.id] for pair in pairs])

    return features
