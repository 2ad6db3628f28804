"""Reward against KL: where runs went during training, where finished models stand, and what best-of-n would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev
from typing import Any

from rlhf.evaluation.findings import MIN_TEXTS, by_step, series
from rlhf.evaluation.symptoms import KLS
from rlhf.reporting.contents import EvaluationData, Material, RunData

MEASURES = ("reward", "gold")
"""`reward`: of the reward model, in its own unit. `gold`: of the judge."""


@dataclass(frozen=True)
class Mean:
    """A mean with its 95% interval, where there is one; `n` is what it is over."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1


@dataclass(frozen=True)
class Point:
    """One place on the frontier.

    Attributes:
        source: `training` (samples of a run), `evaluation` (a finished model), `best_of_n` (its KL is a bound).
        over: what the intervals are over, `seeds` or `prompts`.
        step: of training points; `n` of best-of-n.
    """

    label: str
    source: str
    kl: float
    step: int | None = None
    n: int | None = None
    reward: Mean | None = None
    gold: Mean | None = None
    over: str = "prompts"


@cache
def t_quantile(freedom: int, p: float = 0.975) -> float:
    """Student's t by Hill's expansion around the normal (Abramowitz & Stegun 26.7.5), exact below 3 degrees."""
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    z, v = NormalDist().inv_cdf(p), float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v ** (i + 1) for i, term in enumerate(terms))


def mean_of(values: Sequence[float]) -> Mean | None:
    """Mean and 95% t interval; no interval from a single value."""
    if not values:
        return None
    centre, n = fmean(values), len(values)
    if n < 2:
        return Mean(centre, n=n)
    half = t_quantile(n - 1) * stdev(values) / math.sqrt(n)
    return Mean(centre, centre - half, centre + half, n)


def points(material: Material) -> list[Point]:
    """Everything that can be placed: training first, then finished models, then best-of-n."""
    found: list[Point] = []
    for label, runs in material.groups().items():
        found += _of_group(label, runs)
    if material.evaluation is not None:
        found += _of_evaluation(material.evaluation)
    return found


def _of_group(label: str, runs: Sequence[RunData]) -> list[Point]:
    tracks = [track for run in runs if (track := _of_run(run))]
    if not tracks:
        return []
    if len(tracks) == 1:
        return [
            Point(label, "training", kl, step, None, mean_of(values["reward"]), mean_of(values["gold"]))
            for step, (kl, values) in tracks[0].items()
        ]
    found = []
    for step in sorted(set.intersection(*(set(track) for track in tracks))):
        here = [track[step] for track in tracks]
        means = {name: [fmean(values[name]) for _, values in here if values[name]] for name in MEASURES}
        kl = fmean(kl for kl, _ in here)
        found.append(
            Point(label, "training", kl, step, None, mean_of(means["reward"]), mean_of(means["gold"]), "seeds")
        )
    return found


def _of_run(run: RunData) -> dict[int, tuple[float, dict[str, list[float]]]]:
    """KL, and the reward and gold score of every answer, by step."""
    found: dict[int, tuple[float, dict[str, list[float]]]] = {}
    for step, group in by_step(run.samples).items():
        kls = _numbers(group, "kl")
        if len(kls) >= MIN_TEXTS:
            found[step] = fmean(kls), {"reward": _numbers(group, "score"), "gold": _numbers(group, "gold")}
    if found:
        return found
    # Samples are few or off: validations have at least the reward.
    kl, score = dict(series(run.rows, *KLS)), dict(series(run.rows, "val/score", "objective/score"))
    return {step: (kl[step], {"reward": [score[step]], "gold": []}) for step in kl if step in score}


def _numbers(group: Sequence[Any], name: str) -> list[float]:
    return [float(s[name]) for s in group if isinstance(s.get(name), int | float) and math.isfinite(s[name])]


def _of_evaluation(evaluation: EvaluationData) -> list[Point]:
    found = []
    for name, metrics in evaluation.models.items():
        if isinstance(metrics.get("kl"), int | float):
            found.append(
                Point(
                    name,
                    "evaluation",
                    metrics["kl"],
                    reward=mean_of(evaluation.values(name, "reward")),
                    gold=mean_of(evaluation.values(name, "score")),
                )
            )
    best = evaluation.record.get("best_of_n")
    if best:
        curve = best.get("curve") or [{**best, "n": best["n"]}]
        found += [
            Point(
                "best-of-n",
                "best_of_n",
                point["kl_bound"],
                n=point["n"],
                reward=_known(point, "reward"),
                gold=_known(point, "score"),
            )
            for point in curve
        ]
    return found


def _known(point: dict[str, Any], name: str) -> Mean | None:
    value = point.get(name)
    return None if value is None else Mean(value, point.get(f"{name}_low"), point.get(f"{name}_high"))
