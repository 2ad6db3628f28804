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


Table = Sequence[Sequence[float | None]]


def sizes_up_to(n: int) -> list[int]:
    """1, 2, 4, … and n itself."""
    return [2**i for i in range(n.bit_length()) if 2**i < n] + [n] if n else []


def best_of_means(
    rewards: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], sizes: Sequence[int]
) -> tuple[list[list[float]], list[list[float]]]:
    """Reward and score that the sample with the highest reward of k has on average, for each prompt.

    Of the n samples of a prompt, sorted by reward, the j-th is the best of k drawn without replacement with
    probability C(j − 1, k − 1) / C(n, k): the mean over these is unbiased, and all samples serve every k
    (the estimator of Nakano et al. 2021, appendix I). Samples of equal reward are equally likely to be picked: each
    counts with the mean score of all of them.

    Args:
        rewards, scores: [prompts][n], what picks and what judges. sizes: of k, each at most n.

    Returns:
        Both [sizes][prompts].
    """
    sorted_prompts = [_sorted(mine, theirs) for mine, theirs in zip(rewards, scores, strict=True)]
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for k in sizes:
        for at, rows in enumerate(found):
            rows.append([])
            for pairs in sorted_prompts:
                total = math.comb(len(pairs), k)
                rows[-1].append(sum(math.comb(j, k - 1) / total * pair[at] for j, pair in enumerate(pairs)))
    return found


def _sorted(rewards: Sequence[float], scores: Sequence[float]) -> list[tuple[float, float]]:
    groups: dict[float, list[float]] = {}
    for reward, score in zip(rewards, scores, strict=True):
        groups.setdefault(reward, []).append(score)
    return [(reward, fmean(groups[reward])) for reward in sorted(groups) for _ in groups[reward]]


def best_of_curve(rewards: Table, scores: Table) -> list[BestOf]:
    """What picking the sample with the highest reward of k brings, for k = 1, 2, 4, … up to n; see `best_of_means`.

    Args:
        rewards, scores: [prompts][n], what picks and what judges. Prompts with a sample that has no reward or no
            score are left out, and so are those with fewer than n.

    Returns:
        A point for each k.
    """
    n = max((len(mine) for mine in rewards), default=0)
    rewards, scores = whole_prompts(rewards, scores, n)
    if not rewards:
        return []
    sizes = sizes_up_to(n)
    found = best_of_means(rewards, scores, sizes)  # type: ignore[arg-type]
    curve: list[BestOf] = []
    for k, means in zip(sizes, zip(*found, strict=True), strict=True):
        reward, score = map(fmean, means)
        point: BestOf = {"n": k, "kl_bound": best_of_bound(k), "reward": reward, "score": score}
        if len(rewards) > 1:
            of_reward, of_score = (Z * stdev(values) / math.sqrt(len(values)) for values in means)
            point |= {"reward_low": reward - of_reward, "reward_high": reward + of_reward}
            point |= {"score_low": score - of_score, "score_high": score + of_score}
        curve.append(point)
    return curve


def whole_prompts(rewards: Table, scores: Table, n: int) -> tuple[Table, Table]:
    """Without the prompts that have fewer than n samples, or one without a reward or a score."""
    kept = [
        (mine, theirs)
        for mine, theirs in zip(rewards, scores, strict=True)
        if n > 0 and len(mine) == n and None not in (*mine, *theirs)
    ]
    return [mine for mine, _ in kept], [theirs for _, theirs in kept]
