"""Win rates: how often one model's answer is better than another's to the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlhf.evaluation.intervals import wilson
from rlhf.evaluation.judges import Mark

RESAMPLES, SEED = 10_000, 0


@dataclass(frozen=True)
class WinRate:
    """Of one model over another.

    Attributes:
        rate: (wins + ties / 2) / n.
        low, high: its 95% interval over prompts.
        n: prompts on which both were marked.
    """

    rate: float
    low: float
    high: float
    n: int
    wins: int
    ties: int
    losses: int

    def record(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        return asdict(self)


def win_rate(mine: Sequence[Mark | None], theirs: Sequence[Mark | None]) -> WinRate | None:
    """How often `mine` beats `theirs`, prompt by prompt, a tie counting one half; `None` without a common prompt.

    Args:
        mine, theirs: marks of the answers to the same prompts, in the same order; prompts that one lacks are left out.
    """
    pairs = [(a.score, b.score) for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    wins, losses = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    n, ties = len(pairs), len(pairs) - wins - losses
    low, high = interval(wins, ties, losses)
    return WinRate((wins + ties / 2) / n, low, high, n, wins, ties, losses)


def interval(wins: int, ties: int, losses: int) -> tuple[float, float]:
    """95% by the percentile bootstrap over prompts (Efron & Tibshirani 1993), with a fixed seed.

    Drawing n prompts with replacement is drawing their outcomes from a multinomial distribution. Unlike Wilson's
    interval it knows that ties vary less than wins and losses; where all outcomes are alike it can't vary at all, and
    Wilson's is taken.
    """
    counts = np.array([wins, ties, losses])
    n = int(counts.sum())
    if counts.max() == n:
        return wilson(wins + ties / 2, n)
    drawn = np.random.default_rng(SEED).multinomial(n, counts / n, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 0] + drawn[:, 1] / 2) / n, [0.025, 0.975])
    return float(low), float(high)


def all_pairs(marks: dict[str, Sequence[Mark | None]]) -> dict[str, WinRate]:
    """`later>earlier` for every pair of models, in the order in which they were given."""
    names = list(marks)
    found = {
        f"{names[j]}>{names[i]}": win_rate(marks[names[j]], marks[names[i]])
        for j in range(len(names))
        for i in range(j)
    }
    return {pair: rate for pair, rate in found.items() if rate is not None}
