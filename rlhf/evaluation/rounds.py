"""Rounds of training side by side: what the judge and each round's own reward model say, and how far the policy went.

A reward model is trained on answers of earlier policies. Where the policy leaves them behind, its score keeps rising
and the judge's does not (Gao et al. 2022), and it agrees less with labels of fresh answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

Z = NormalDist().inv_cdf(0.975)

Point = Mapping[str, Any]
"""A round's entry in `evaluation.json`, made by `point`."""


def mean_with_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """`NAME`, `NAME_low`, `NAME_high`: mean and 95% interval (normal, over prompts); empty without values."""
    if not values:
        return {}
    centre = fmean(values)
    half = Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {name: centre} | ({f"{name}_low": centre - half, f"{name}_high": centre + half} if half == half else {})


def point(
    number: int,
    name: str,
    gold: Sequence[float | None],
    proxy: Sequence[float | None],
    start: Sequence[float | None],
    kl: float | None,
    facts: Mapping[str, float],
) -> dict[str, Any]:
    """One round.

    Args:
        number: from 1; 0 is the model that the rounds began with.
        gold: the judge's score of the answer to each prompt.
        proxy, start: the scores that the round's reward model gives this model's answers, and those of the model that
            the rounds began with, to the same prompts. `proxy_gain` is the mean difference, in standard deviations of
            `start`: reward models of different rounds have no unit in common.
        kl: nats per response, to the model that the rounds began with.
        facts: what training and collecting measured: `agreement` of the reward model of the round before with the
            labels of this round's fresh answers, `accuracy` of this round's on held-out comparisons.
    """
    pairs = [(a, b) for a, b in zip(proxy, start, strict=True) if a is not None and b is not None]
    spread = (stdev([before for _, before in pairs]) if len(pairs) > 1 else 0.0) or 1.0
    found: dict[str, Any] = {"round": number, "name": name}
    found |= mean_with_interval("gold", [score for score in gold if score is not None])
    found |= mean_with_interval("proxy_gain", [(now - before) / spread for now, before in pairs])
    return found | ({} if kl is None else {"kl": kl}) | dict(facts)


def rounds_table(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    head = ["round", "model", "score", "proxy's gain (sd)", "KL", "agreement: fresh", "best possible", "held-out"]
    return head, [
        [
            str(one["round"]),
            str(one["name"]),
            _shown(one, "gold", "{:.2f}"),
            _shown(one, "proxy_gain", "{:+.2f}"),
            _shown(one, "kl", "{:.2f}"),
            _shown(one, "agreement", "{:.1%}"),
            _shown(one, "agreement_ceiling", "{:.1%}"),
            _shown(one, "accuracy", "{:.1%}"),
        ]
        for one in points
    ]


def _shown(one: Point, name: str, form: str) -> str:
    """A number with its interval, as far as they are known."""
    if one.get(name) is None:
        return "–"
    low, high = one.get(f"{name}_low"), one.get(f"{name}_high")
    interval = "" if low is None or high is None else f" ({form.format(low)} to {form.format(high)})"
    return form.format(one[name]) + interval
