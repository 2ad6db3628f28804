"""Learning-rate schedule as a pure function of the step, so that there is no state to lose."""

from __future__ import annotations

import math


def lr_factor(step: int, total: int, *, warmup: int, schedule: str, min_ratio: float = 0.0) -> float:
    """Fraction of the peak learning rate that update number `step` (from 0) uses.

    Linear warm-up over `warmup` updates (the first one is 1/warmup, never 0), then `cosine` (Loshchilov & Hutter 2017)
    or `linear` decay that would reach `min_ratio` at update `total`, or `constant`.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "linear":
        return min_ratio + (1 - min_ratio) * (1 - progress)
    if schedule == "cosine":
        return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    raise ValueError(f"schedule {schedule!r}: must be cosine, linear or constant")
