"""Intervals and a test for proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def wilson(successes: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), 95% with the default `z`; ties may count half."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_wilson(clusters: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The 95% Wilson interval of a proportion whose trials come in clusters that may be alike, such as the votes of
    several people on one question: with n divided by the design effect (Rao & Scott 1992), the variance between
    clusters over that of independent trials. It is `wilson` where each cluster is one trial, and never narrower.

    Args:
        clusters: successes and trials of each; ties may count half.
    """
    sizes = np.array([n for _, n in clusters], dtype=float)
    successes = np.array([won for won, _ in clusters], dtype=float)
    n, m, total = float(sizes.sum()), len(clusters), float(successes.sum())
    if n == m:
        return wilson(total, m)
    p = total / n
    if m == 1 or p in (0.0, 1.0):
        effective = float(m)  # no variance between clusters to learn from: as if each were one trial
    else:
        between = m / (m - 1) * float(((successes - p * sizes) ** 2).sum()) / n**2
        effective = min(n, p * (1 - p) / between) if between else n
    return wilson(p * effective, effective)


@dataclass(frozen=True)
class SignTest:
    """Whether wins and losses could come from a fair coin (Dixon & Mood 1946); ties say nothing and are left out.

    Attributes:
        rate: wins / n; `None` where all were ties.
        low, high: its exact 95% interval (Clopper & Pearson 1934).
        p: two-sided, exact: how often a fair coin is at least as far from one half.
        n: wins and losses.
    """

    rate: float | None
    low: float
    high: float
    p: float
    n: int


def sign_test(wins: int, losses: int) -> SignTest:
    """The exact sign test of paired outcomes."""
    n = wins + losses
    if n == 0:
        return SignTest(None, 0.0, 1.0, 1.0, 0)
    # In whole numbers, so that no n is too large.
    term, tail = 1, 1
    for k in range(min(wins, losses)):
        term = term * (n - k) // (k + 1)
        tail += term
    return SignTest(wins / n, *clopper_pearson(wins, n), min(1.0, 2 * tail / 2**n), n)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion (Clopper & Pearson 1934): those p at which neither tail is below (1 − level)/2."""
    alpha = (1 - level) / 2
    k = np.arange(n + 1)
    log_choose = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])

    def tail(p: float, at_most: bool) -> float:
        chosen = k <= successes if at_most else k >= successes
        logs = log_choose + k * math.log(p) + (n - k) * math.log1p(-p)
        return float(np.exp(logs[chosen]).sum())

    def bisect(at_most: bool) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            # P(X ≤ k) falls with p, P(X ≥ k) rises.
            too_far = tail(middle, at_most) < alpha
            low, high = (low, middle) if too_far == at_most else (middle, high)
        return (low + high) / 2

    return (0.0 if successes == 0 else bisect(False)), (1.0 if successes == n else bisect(True))
