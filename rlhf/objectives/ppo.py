"""PPO on tokens: clipped policy and value losses, entropy; with the rest of its formulas under one name."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf.objectives.advantages import explained_variance, gae, whiten
from rlhf.objectives.kl import k3
from rlhf.objectives.numeric import widen
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


class PolicyLoss(NamedTuple):
    """Per token, each [N]; only `losses` carries a gradient.

    `clipped` is true where clipping decided the loss (and the gradient is 0), not wherever the ratio left the range.
    `approx_kl` is the k3 estimate of KL(π_old ‖ π), nats.
    """

    losses: Tensor
    ratio: Tensor
    clipped: Tensor
    approx_kl: Tensor


class ValueLoss(NamedTuple):
    """Per token, each [N]; `clipped` is true where the clipped prediction decided the loss."""

    losses: Tensor
    clipped: Tensor


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_epsilon: float) -> PolicyLoss:
    """max(−A·ρ, −A·clip(ρ, 1 − ε, 1 + ε)) with ρ = π/π_old (Schulman et al. 2017, eq. 7, negated).

    Args:
        logprobs: [N], of the sampled tokens under the policy, with gradient.
        old_logprobs: [N], under the policy that sampled them, at the same temperature.
        advantages: [N]; no gradient flows into them, nor into `old_logprobs`.
        clip_epsilon: ε ≥ 0.
    """
    logprobs, old_logprobs, advantages = widen(logprobs), widen(old_logprobs).detach(), widen(advantages).detach()
    ratio = torch.exp(logprobs - old_logprobs)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_epsilon, 1 + clip_epsilon)
    return PolicyLoss(
        torch.maximum(plain, clipped),
        ratio.detach(),
        clipped.detach() > plain.detach(),
        k3(old_logprobs, logprobs.detach()),
    )


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
