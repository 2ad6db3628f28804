"""KTO: what is learned from one answer and a label, desirable or not (Ethayarajh et al. 2024)."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen

KTOLoss = Literal["kto", "apo_zero_unpaired"]


class KTOResult(NamedTuple):
    """Per response, each [R], fp32; only `losses` carries a gradient. Rewards are β·(log π(y|x) − log π_ref(y|x))."""

    losses: Tensor
    rewards: Tensor


def kto(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    kl: Tensor | float,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    loss: KTOLoss = "kto",
) -> KTOResult:
    """λ_D·(1 − σ(β(r − z0))) of a desirable response, λ_U·(1 − σ(β(z0 − r))) of an undesirable one, r = log(π/π_ref).

    That is `kto` (Ethayarajh et al. 2024, eq. 8). `apo_zero_unpaired` has z0 = 0 (D'Oosterlinck et al. 2024, unpaired
    form as in TRL).

    Args:
        policy: [R], log-probabilities (nats) summed over each response, with gradient.
        reference: [R], the same of the frozen reference; no gradient flows into it.
        desirable: [R], bool.
        kl: z0 ≥ 0 (nats), of the whole optimisation batch, see `kl_estimate`; no gradient flows into it.
        beta: β > 0, 1/nat.
        desirable_weight, undesirable_weight: λ_D, λ_U ≥ 0.

    Raises:
        ValueError: an unknown loss, β ≤ 0, or a negative weight.
    """
    if loss not in get_args(KTOLoss):
        raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(get_args(KTOLoss))}")
    if not beta > 0:
        raise ValueError(f"beta is {beta}; it must be greater than 0")
    if min(desirable_weight, undesirable_weight) < 0:
        raise ValueError(f"weights are {desirable_weight} and {undesirable_weight}; they must be at least 0")
    ratios = widen(policy) - widen(reference).detach()
    point = torch.as_tensor(0.0 if loss == "apo_zero_unpaired" else kl).detach().to(ratios)
    signs = torch.where(desirable, 1.0, -1.0)
    weights = torch.where(desirable, desirable_weight, undesirable_weight)
    # 1 − σ(z) as σ(−z): where z is large the difference would be rounded to 0.
    losses = weights * torch.sigmoid(-signs * beta * (ratios - point))
    return KTOResult(losses, beta * ratios.detach())


def kl_estimate(mean_log_ratio: float) -> float:
    """z0 = max(0, mean of log π(y'|x) − log π_ref(y'|x)) over mismatched pairs of prompt and response (section 4.1).

    The mean runs over the whole optimisation batch: taken of parts of it, the clamp would make another number of it.
    """
    return 0.0 if mean_log_ratio <= 0 else mean_log_ratio  # NaN stays NaN, for the guard of bad steps to see
