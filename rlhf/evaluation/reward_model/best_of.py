"""Best-of-k for every k up to n, from the same n samples of each prompt: the frontier's reference curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

from rlhf.evaluation.reward_model.preferences import best_of_bound

Z = NormalDist().inv_cdf(0.975)


def best_of_curve(
    rewards: Sequence[Sequence[float | None]], scores: Sequence[Sequence[float | None]]
) -> list[dict[str, Any]]:
    """What picking the sample with the highest reward of k brings, for k = 1, 2, 4, … up to n.

    Of the n samples of a prompt, sorted by reward, the j-th is the best of k drawn without replacement with
    probability C(j − 1, k − 1) / C(n, k): the mean over these is unbiased, and all samples serve every k
    (the estimator of Nakano et al. 2021, appendix I).

    Args:
        rewards, scores: [prompts][n], what picks and what judges. Prompts with a sample that has no reward or no
            score are left out, and so are those with fewer than n.

    Returns:
        For each k: `n`, `kl_bound` (nats, at most), `reward` and `score` with `_low` and `_high`, 95% over prompts.
    """
    n = max((len(mine) for mine in rewards), default=0)
    prompts = [
        sorted((r, s) for r, s in zip(mine, theirs, strict=True) if r is not None and s is not None)
        for mine, theirs in zip(rewards, scores, strict=True)
    ]
    whole = [pairs for pairs in prompts if len(pairs) == n]
    if not whole or n == 0:
        return []
    curve = []
    for k in [2**i for i in range(n.bit_length()) if 2**i < n] + [n]:
        weights = [math.comb(j, k - 1) / math.comb(n, k) for j in range(n)]
        point: dict[str, Any] = {"n": k, "kl_bound": best_of_bound(k)}
        for at, name in enumerate(("reward", "score")):
            means = [sum(w * pair[at] for w, pair in zip(weights, pairs, strict=True)) for pairs in whole]
            half = Z * stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
            centre = fmean(means)
            point |= {name: centre} | (
                {f"{name}_low": centre - half, f"{name}_high": centre + half} if half == half else {}
            )
        curve.append(point)
    return curve
