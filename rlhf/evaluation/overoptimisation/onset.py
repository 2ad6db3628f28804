"""Over-optimisation: the step after which the reward still rises while the gold score falls (Gao et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

from rlhf.evaluation.findings import MIN_TEXTS, Finding, Sample, by_step

LEVEL = 0.95
"""Of the interval that the fall of the gold score must stay below 0 with, over all later evaluations together."""


def onset(samples: Sequence[Sample]) -> Finding | None:
    """Where over-optimisation sets in; `None` where it doesn't, or samples are too few to tell.

    It sets in at the evaluation with the highest mean gold score, if a later one, up to the end, has a higher mean
    reward and a lower gold score on the same prompts. The peak is the luckiest of all evaluations, so each of the k
    comparisons with it has its level raised to 1 − (1 − 95%)/k (Bonferroni). Where the start is the peak, the reward
    never was a guide: the finding's code is `opposed`.

    Args:
        samples: with `score` (the reward) and `gold`, the same prompts at every step.
    """
    groups = {
        step: known
        for step, group in by_step(samples).items()
        if len(known := {_key(s): s for s in group if _has(s, "score") and _has(s, "gold")}) >= MIN_TEXTS
    }
    if len(groups) < 2:
        return None
    steps = list(groups)
    gold = {step: fmean(s["gold"] for s in group.values()) for step, group in groups.items()}
    reward = {step: fmean(s["score"] for s in group.values()) for step, group in groups.items()}
    peak = max(steps, key=lambda step: (gold[step], -step))
    last = steps[-1]
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / (len(steps) - 1))
    differences = [
        groups[last][key]["gold"] - groups[peak][key]["gold"] for key in groups[last].keys() & groups[peak].keys()
    ]
    if last == peak or len(differences) < MIN_TEXTS or reward[last] <= reward[peak]:
        return None
    centre = fmean(differences)
    spread = math.sqrt(sum((d - centre) ** 2 for d in differences) / (len(differences) - 1) / len(differences))
    if centre + z * spread >= 0:
        return None
    numbers = {
        "reward_from": reward[peak],
        "reward_to": reward[last],
        "gold_from": gold[peak],
        "gold_to": gold[last],
        "low": centre - z * spread,
        "high": centre + z * spread,
        "last": last,
        "kl": fmean(float(s.get("kl") or 0.0) for s in groups[peak].values()),
    }
    return Finding("reward_hacking", "over_optimised" if peak > steps[0] else "opposed", peak, numbers)


def _has(sample: Sample, name: str) -> bool:
    value = sample.get(name)
    return isinstance(value, int | float) and math.isfinite(value)


def _key(sample: Sample) -> str:
    return str(sample["prompt"])
