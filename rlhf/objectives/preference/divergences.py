"""What holds a policy to its reference, if not the reverse KL: the scores that f-divergences put in its place."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import widen

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]

LARGEST = 80.0
"""Exponents stop here, since exp(89) is infinite in fp32. A rejected response falls that far below its reference with
long training; its true gradient is 0 by then, and would be 0 · ∞."""


def divergence_scores(log_ratios: Tensor, divergence: Divergence = "reverse_kl", alpha: float = 0.5) -> Tensor:
    """f′(t) at t = π/π_ref, up to a constant: what takes the place of log t in DPO (Wang et al. 2023).

    With it the sigmoid loss has the optimum of E[r] − β·D_f(π ‖ π_ref), D_f = E_ref[f(t)].

    - `reverse_kl`: f = t·log t, f′ = log t (+ 1): DPO itself.
    - `forward_kl`: f = −log t, f′ = 1 − 1/t (TRL's constant; the paper's is 0).
    - `js`: Jensen–Shannon, f′ = log(2t / (1 + t)).
    - `alpha`: f′ = (1 − t^−α) / α, between reverse KL (α → 0) and forward KL (α = 1). TRL's `f_alpha_divergence_coef`
      is 1 − α; at 0.5 both agree.

    Args:
        log_ratios: any shape, log π(y|x) − log π_ref(y|x), nats.
        alpha: in (0, 1); `alpha` only.

    Returns:
        The same shape; exponents stop at 80.

    Raises:
        ValueError: an unknown divergence, or α out of range.
    """
    x = widen(log_ratios)
    if divergence == "reverse_kl":
        return x
    if divergence == "forward_kl":
        return -torch.expm1((-x).clamp(max=LARGEST))
    if divergence == "js":
        return math.log(2) + F.logsigmoid(x)
    if divergence == "alpha":
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; it must be in (0, 1)")
        return -torch.expm1((-alpha * x).clamp(max=LARGEST)) / alpha
    raise ValueError(f"divergence is {divergence!r}; it must be one of {', '.join(get_args(Divergence))}")
