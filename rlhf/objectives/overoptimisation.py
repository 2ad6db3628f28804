"""Scaling laws of reward model over-optimisation: how the gold score moves with the distance from the start."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Form = Literal["best_of_n", "rl"]
"""Which of the two laws: best-of-n sampling, or reinforcement learning."""


def _against_beta(d: Tensor, form: Form) -> Tensor:
    """What β is taken from α with: d for best-of-n, log d for RL (0 where d is 0, since d·log d → 0)."""
    return d if form == "best_of_n" else torch.where(d > 0, d, torch.ones_like(d)).log()


def gold_gain(d: Tensor, alpha: float | Tensor, beta: float | Tensor, form: Form) -> Tensor:
    """R_bon(d) = d·(α − β·d), R_RL(d) = d·(α − β·log d): gold score above that of d = 0 (Gao et al. 2022, eq. 1).

    Args:
        d: √KL(policy ‖ start), ≥ 0, of any shape; √nats per response, log is the natural one.
        alpha, beta: score per √nat, and for best-of-n score per nat.
    """
    return d * (alpha - beta * _against_beta(d, form))


def fit_gain(d: Tensor, gain: Tensor, form: Form) -> Tensor:
    """α and β by least squares: the law is linear in both, and goes through the origin.

    Args:
        d: [..., N], √nats, ≥ 0; a point at 0 has no say. gain: [..., N], score above that of d = 0.

    Returns:
        [..., 2], float64.

    Raises:
        ValueError: fewer than two different distances above 0: nothing would tell α from β.
    """
    d, gain = d.double(), gain.double()
    if min(len(row[row > 0].unique()) for row in d.reshape(-1, d.shape[-1])) < 2:
        raise ValueError("the law has two coefficients, and needs two different distances above 0")
    columns = torch.stack([d, -d * _against_beta(d, form)], dim=-1)
    return torch.linalg.lstsq(columns, gain.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)


def peak(alpha: float, beta: float, form: Form) -> float | None:
    """The distance d at which the law has its maximum: α/(2β), or exp(α/β − 1); `None` where it never falls, or
    falls from the start."""
    if beta <= 0:
        return None
    if form == "best_of_n":
        return alpha / (2 * beta) if alpha > 0 else None
    power = alpha / beta - 1
    return math.exp(power) if power < math.log(1e6) else None


def explained(gain: Tensor, fitted: Tensor) -> float | None:
    """R² = 1 − Σ(gain − fitted)² / Σ(gain − mean)²; `None` where all gains are equal.

    Args:
        gain, fitted: [N], of the same unit.
    """
    spread = (gain - gain.mean()).square().sum()
    return None if spread == 0 else float(1 - (gain - fitted).square().sum() / spread)
