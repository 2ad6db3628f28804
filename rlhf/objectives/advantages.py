"""How much better each token did than the critic expected: GAE, whitening, and how well the critic explains returns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlhf.objectives.numeric import AllReduce, Moments, keep, moments, widen


@torch.no_grad()
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 11–16), backwards over each response.

    δ_t = r_t + γ·V_{t+1} − V_t;  A_t = δ_t + γλ·A_{t+1};  return_t = A_t + V_t. Beyond the last response token there is
    nothing: V = A = 0 (a response that was cut is an episode that ended, as its penalty says).

    Args:
        rewards: [E, L].
        values: [E, L], V_t read before token t is chosen.
        mask: [E, L], true at response tokens. Masked positions are stepped over: nothing flows in from them, and t + 1
            is the next token that is not masked.
        gamma, lam: γ and λ in [0, 1].

    Returns:
        Advantages and returns, each [E, L], fp32; 0 where masked. No gradient.
    """
    mask = mask.bool()
    rewards, values = keep(mask, widen(rewards)), keep(mask, widen(values))
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0]) if values.shape[1] else values.sum(1)
    next_advantage = next_value
    for t in range(values.shape[1] - 1, -1, -1):
        here = mask[:, t]
        advantage = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * next_advantage
        next_advantage = torch.where(here, advantage, next_advantage)
        next_value = torch.where(here, values[:, t], next_value)
        advantages[:, t] = keep(here, advantage)
    return advantages, advantages + values


@torch.no_grad()
def whiten(
    x: Tensor, mask: Tensor, mean_shift: bool = True, statistics: Moments | tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """(x − mean) / sqrt(variance + 1e-8) over the masked-in entries (Ziegler et al. 2019; Huang et al. 2024).

    The variance is the population's (divided by n), as `tf.nn.moments` in the original code; TRL and torchtune divide
    by n − 1, which differs by a factor of sqrt(1 − 1/n).

    Args:
        x: [E, L].
        mask: [E, L], true where an entry counts.
        mean_shift: False keeps the mean: (x − mean)/std + mean, as for rewards.
        statistics: mean and variance to use, from `moments(x, mask, all_reduce)` over ranks; else of these entries.

    Returns:
        [E, L], fp32; 0 where masked.
    """
    mean, variance = moments(x, mask) if statistics is None else statistics
    x = widen(x)
    whitened = (x - mean) * torch.rsqrt(torch.as_tensor(variance) + 1e-8)
    if not mean_shift:
        whitened = whitened + mean
    return keep(mask, whitened.to(x.dtype))


@torch.no_grad()
def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce | None = None) -> Tensor:
    """1 − Var(returns − values) / Var(returns): 1 for a perfect critic, 0 for a constant, below 0 for a harmful one.

    Args:
        values, returns, mask: [E, L].
        all_reduce: takes the variances over ranks; every rank must call then.

    Returns:
        Scalar, fp64; NaN where all returns are equal, since there is nothing to explain.
    """
    left = moments(widen(returns) - widen(values), mask, all_reduce).variance
    total = moments(returns, mask, all_reduce).variance
    return torch.where(total > 0, 1 - left / total, math.nan)
