"""A noisy annotator: ranks answers by the gold judge's score, with the errors of the Bradley–Terry model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

NOISE = 1.1
"""Points of the judge's score at which a better answer wins with probability σ(1) = 73%."""


def noisy_ranks(scores: Sequence[float], random: Random, noise: float = NOISE) -> tuple[int, ...]:
    """Ranks from 1 (best); answers of equal score tie.

    Each score gets an error from a Gumbel distribution, so that the better one of two wins with probability
    σ((better − worse) / noise), as in Bradley and Terry 1952; equal scores share their error.

    Args:
        noise: in points, > 0.
    """
    levels = sorted(set(scores))
    seen = {level: level / noise - math.log(-math.log(_open(random))) for level in levels}
    return tuple(1 + sum(seen[other] > seen[score] for other in levels) for score in scores)


def ceiling(scores: Sequence[float], noise: float = NOISE) -> list[float]:
    """For each pair of unequal scores, how often its noisy label agrees with the judge: the best possible accuracy."""
    gaps = [abs(a - b) for i, a in enumerate(scores) for b in scores[i + 1 :] if a != b]
    return [1 / (1 + math.exp(-gap / noise)) for gap in gaps]


def _open(random: Random) -> float:
    """Uniform in (0, 1)."""
    return random.random() or 0.5
