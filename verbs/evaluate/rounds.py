"""Rounds of training in an evaluation: each model is scored by the reward model that it was trained against."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from rlhf.config import EvaluateConfig
from rlhf.errors import ParentError
from rlhf.evaluation.judges.reward_models import check_scores
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.outcome import Evaluation
from rlhf.evaluation.rounds import point
from rlhf.runs import Parent, Run, Summary
from rlhf.runs.listing import read_config
from verbs.finished_model import load_reward_judge

PREFIX = "evaluation.rounds."


def rounds_of(config: EvaluateConfig, run: Run, evaluation: Evaluation, reads: int | None) -> list[dict[str, Any]]:
    """A point for the reference, with which the rounds began, and one for each model of `evaluation.rounds`.

    Args:
        reads: longest prompt and answer, tokens.

    Raises:
        ParentError: a reward model gives no finite score at all.
    """
    start = evaluation.models[evaluation.reference]
    nothing: list[float | None] = [None] * len(evaluation.prompts)
    points = [point(0, evaluation.reference, _scores(start.replies.marks), nothing, nothing, 0.0, {"proxy_gain": 0.0})]
    before = [answer.text for answer in start.replies.answers]
    for number, name in enumerate(config.evaluation.rounds, 1):
        parent, model = run.parents[f"{PREFIX}{name}"], evaluation.models[name]
        judge = load_reward_judge(f"{PREFIX}{name}", parent, config.strategy, reads)
        now = [answer.text for answer in model.replies.answers]
        scores = judge.scores(evaluation.prompts, now), judge.scores(evaluation.prompts, before)
        check_scores(f"{PREFIX}{name}", judge)
        points.append(point(number, name, _scores(model.replies.marks), *scores, model.kl, facts_of(parent)))
        del judge
        gc.collect()
    return points


def _scores(marks: list[Mark | None]) -> list[float | None]:
    return [None if mark is None else mark.score for mark in marks]


def facts_of(parent: Parent) -> dict[str, float]:
    """What a reward model's run says of itself, and the collection of its newest comparisons of the one before it."""
    if parent.kind != "run" or parent.dir is None:
        return {}
    found = {name.removeprefix("val/"): v for name, v in Summary.read(parent.dir).final.items() if "accuracy" in name}
    kept = {name: value for name, value in found.items() if name in ("accuracy", "accuracy_low", "accuracy_high")}
    paths = read_config(parent.dir).get("data", {}).get("path")
    newest = paths[-1] if isinstance(paths, list) and paths else paths
    if not newest:
        return kept
    try:
        collected = Summary.read(Path(str(newest)).parent).final
    except ParentError:  # comparisons that were not collected by us
        return kept
    return kept | {name: value for name, value in collected.items() if name.startswith("agreement")}
