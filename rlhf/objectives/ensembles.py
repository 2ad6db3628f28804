"""One score from those of several reward models."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen

COMBINATIONS = ("mean", "median", "min", "variance", "deviation")


@torch.no_grad()
def combined(members: Tensor, how: str, coef: float = 0.0) -> Tensor:
    """An ensemble's score of each response (Coste et al. 2023, §3.2).

    With K members' scores r_1 … r_K of a response, mean μ and population variance σ² = (1/K)·Σ(r_k − μ)²:
    `mean` μ; `median` (of an even K, the mean of the two in the middle); `min` min r_k (worst-case optimisation);
    `variance` μ − coef·σ² (uncertainty-weighted optimisation, eq. 4 there); `deviation` μ − coef·σ, which has the
    scores' own unit and so does not change with their scale.

    Args:
        members: [K, R], scores of R responses by K ≥ 1 models; the log-odds of Bradley–Terry models are comparable.
        how: one of `COMBINATIONS`.
        coef: what a unit of disagreement costs, ≥ 0; of `variance` and `deviation` alone.

    Returns:
        [R], fp32; NaN wherever a member's score is.

    Raises:
        ValueError: `how` is another word.
    """
    members = widen(members)
    if how == "mean":
        return members.mean(0)
    if how == "min":
        return members.amin(0)
    if how == "median":
        return members.quantile(0.5, dim=0)
    if how in ("variance", "deviation"):
        variance = members.var(0, correction=0)
        return members.mean(0) - coef * (variance if how == "variance" else variance.sqrt())
    raise ValueError(f"how must be one of {', '.join(COMBINATIONS)}, got {how!r}")


@torch.no_grad()
def disagreement(members: Tensor) -> Tensor:
    """Population standard deviation over members, [K, R] → [R], fp32."""
    return widen(members).std(0, correction=0)
