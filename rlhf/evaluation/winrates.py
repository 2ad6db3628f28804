"""Win rates: how often one model's answer is better than another's to the same prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlhf.evaluation.intervals import SignTest, sign_test, wilson
from rlhf.evaluation.judges.scorers import Mark

RESAMPLES, SEED = 10_000, 0


@dataclass(frozen=True)
class WinRate:
    """Win rate of one model over another.

    Attributes:
        rate: (wins + ties / 2) / n.
        low, high: its 95% interval over prompts.
        n: prompts on which both were marked, or compared.
        by: what an outcome comes from: `scores` (the higher mark) or `comparisons` (a judge that read both answers).
        agreement: ensembles: share of prompts on which all members see the same winner, or all a tie.
    """

    rate: float
    low: float
    high: float
    n: int
    wins: int
    ties: int
    losses: int
    by: str = "scores"
    agreement: float | None = None

    @property
    def sign(self) -> SignTest:
        """The sign test over the prompts that were not tied."""
        return sign_test(self.wins, self.losses)

    def record(self) -> dict[str, Any]:
        """The entry of `evaluation.json`."""
        return {**asdict(self), "sign_test": asdict(self.sign)}


def win_rate(mine: Sequence[Mark | None], theirs: Sequence[Mark | None]) -> WinRate | None:
    """How often `mine` beats `theirs`, prompt by prompt, a tie counting one half; `None` without a common prompt.

    Args:
        mine, theirs: marks of the answers to the same prompts, in the same order; prompts that one lacks are left out.
    """
    # NaN is neither more nor less than anything, and would count as a tie.
    usable = [[m if m is not None and math.isfinite(m.score) else None for m in marks] for marks in (mine, theirs)]
    pairs = [(a, b) for a, b in zip(*usable, strict=True) if a is not None and b is not None]
    outcomes = [outcome(a.score, b.score) for a, b in pairs]
    # An ensemble's marks hold what each member says.
    votes = [{outcome(x, y) for x, y in zip(a.members, b.members, strict=True)} for a, b in pairs if a.members]
    agreement = sum(len(vote) == 1 for vote in votes) / len(votes) if votes else None
    return of_outcomes(outcomes, "scores", agreement)


def outcome(mine: float, theirs: float) -> float:
    """1 for a win, 0 for a loss, one half for a tie."""
    return 1.0 if mine > theirs else 0.0 if mine < theirs else 0.5


def of_outcomes(
    outcomes: Sequence[float | None], by: str = "comparisons", agreement: float | None = None
) -> WinRate | None:
    """The win rate of outcomes (1, one half, 0) a prompt; `None` among them is left out."""
    known = [x for x in outcomes if x is not None]
    if not known:
        return None
    wins, losses = known.count(1.0), known.count(0.0)
    n, ties = len(known), len(known) - wins - losses
    low, high = interval(wins, ties, losses)
    return WinRate((wins + ties / 2) / n, low, high, n, wins, ties, losses, by, agreement)


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


def ordered_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """(later, earlier) for every two names, in the order in which they were given."""
    return [(names[j], names[i]) for j in range(len(names)) for i in range(j)]


def all_pairs(marks: Mapping[str, Sequence[Mark | None]]) -> dict[str, WinRate]:
    """`later>earlier` for every pair of models, in the order in which they were given."""
    found = {f"{a}>{b}": win_rate(marks[a], marks[b]) for a, b in ordered_pairs(list(marks))}
    return {pair: rate for pair, rate in found.items() if rate is not None}
