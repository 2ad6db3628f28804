"""Best-of-k for every k up to n, from the same n samples of each prompt: the frontier's reference curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import NotRequired, TypedDict

from rlhf.evaluation.reward_model.preferences import best_of_bound

Z = NormalDist().inv_cdf(0.975)


class BestOf(TypedDict):
    """What picking the best of n samples brings: means over prompts with 95% intervals, where there are two or more.

    Attributes:
        n: samples to pick from.
        kl_bound: KL to the model that they come from is at most this, in nats.
        reward, score: by what picks, and by what judges.
    """

    n: int
    kl_bound: float
    reward: float
    reward_low: NotRequired[float]
    reward_high: NotRequired[float]
    score: float
    score_low: NotRequired[float]
    score_high: NotRequired[float]


def best_of_curve(rewards: Sequence[Sequence[float | None]], scores: Sequence[Sequence[float | None]]) -> list[BestOf]:
    """What picking the sample with the highest reward of k brings, for k = 1, 2, 4, … up to n.

    Of the n samples of a prompt, sorted by reward, the j-th is the best of k drawn without replacement with
    probability C(j − 1, k − 1) / C(n, k): the mean over these is unbiased, and all samples serve every k
    (the estimator of Nakano et al. 2021, appendix I).

    Args:
        rewards, scores: [prompts][n], what picks and what judges. Prompts with a sample that has no reward or no
            score are left out, and so are those with fewer than n.

    Returns:
        A point for each k.
    """
    n = max((len(mine) for mine in rewards), default=0)
    prompts = [
        sorted((r, s) for r, s in zip(mine, theirs, strict=True) if r is not None and s is not None)
        for mine, theirs in zip(rewards, scores, strict=True)
    ]
    whole = [pairs for pairs in prompts if len(pairs) == n]
    if not whole or n == 0:
        return []
    curve: list[BestOf] = []
    for k in [2**i for i in range(n.bit_length()) if 2**i < n] + [n]:
        weights = [math.comb(j, k - 1) / math.comb(n, k) for j in range(n)]
        means = [
            [sum(w * pair[at] for w, pair in zip(weights, pairs, strict=True)) for pairs in whole] for at in (0, 1)
        ]
        reward, score = map(fmean, means)
        point: BestOf = {"n": k, "kl_bound": best_of_bound(k), "reward": reward, "score": score}
        if len(whole) > 1:
            of_reward, of_score = (Z * stdev(found) / math.sqrt(len(whole)) for found in means)
            point |= {"reward_low": reward - of_reward, "reward_high": reward + of_reward}
            point |= {"score_low": score - of_score, "score_high": score + of_score}
        curve.append(point)
    return curve
