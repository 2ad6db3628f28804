"""PPO on tokens: clipped value losses, entropy; with the rest of its formulas under one name."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf.objectives.advantages import explained_variance, gae, whiten
from rlhf.objectives.numeric import widen
from rlhf.objectives.policy import PolicyLoss, policy_loss
from rlhf.objectives.shaping import shape_scores, shaped_rewards

__all__ = [
    "PolicyLoss",
    "ValueLoss",
    "entropy",
    "explained_variance",
    "gae",
    "policy_loss",
    "shape_scores",
    "shaped_rewards",
    "value_loss",
    "whiten",
]


class ValueLoss(NamedTuple):
    """Per token, each [N]; `clipped` is true where the clipped prediction decided the loss."""

    losses: Tensor
    clipped: Tensor


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_value: float | None) -> ValueLoss:
    """½·max((V − R)², (clip(V, V_old ± c) − R)²) (Huang et al. 2022, «37 details», no. 9).

    Args:
        values: [N], the critic's, with gradient.
        old_values: [N], the critic's at rollout.
        returns: [N], from `gae`; no gradient flows into them, nor into `old_values`.
        clip_value: c > 0, or None for the plain ½(V − R)².
    """
    values, old_values, returns = widen(values), widen(old_values).detach(), widen(returns).detach()
    plain = (values - returns).square()
    if clip_value is None:
        return ValueLoss(0.5 * plain, torch.zeros_like(plain, dtype=torch.bool))
    near = torch.minimum(torch.maximum(values, old_values - clip_value), old_values + clip_value)
    clipped = (near - returns).square()
    return ValueLoss(0.5 * torch.maximum(plain, clipped), clipped.detach() > plain.detach())


def entropy(logits: Tensor) -> Tensor:
    """−Σ_v π(v)·log π(v) of each distribution; differentiable.

    Args:
        logits: [..., V], divided by the temperature already; −∞ is a token that can't be said, and adds 0.

    Returns:
        [...], nats, fp32.
    """
    logprobs = torch.log_softmax(widen(logits), dim=-1)
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -math.inf, 0)).sum(-1)
