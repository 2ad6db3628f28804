"""Advantages without a critic: what a response is worth beside the others of its prompt, or of its batch."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from rlhf.objectives.numeric import AllReduce, keep, moments, widen

Scale = Literal["group", "batch", "none"]
"""By whose standard deviation a group's advantages are divided."""

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in TRL: a group of equal rewards has advantages of 0 and not of 0/0."""


@torch.no_grad()
def leave_one_out(rewards: Tensor) -> Tensor:
    """R_i − mean of the other samples' rewards (RLOO: Kool et al. 2019; Ahmadian et al. 2024, eq. 7).

    The baseline of a sample doesn't depend on it, so the gradient is unbiased; it equals n/(n − 1)·(R_i − mean).

    Args:
        rewards: [P, n], of the n ≥ 2 samples of each prompt.

    Returns:
        [P, n], fp32.

    Raises:
        ValueError: a single sample has no others.
    """
    n = rewards.shape[-1]
    if n < 2:
        raise ValueError(f"rewards have {n} sample per prompt; the baseline needs at least 2")
    rewards = widen(rewards)
    return rewards - (rewards.sum(-1, keepdim=True) - rewards) / (n - 1)


@torch.no_grad()
def group_advantages(rewards: Tensor, scale: Scale = "group", all_reduce: AllReduce | None = None) -> Tensor:
    """(R_i − mean of the group) / (std + 1e-4) (GRPO, Shao et al. 2024, §4.1.2).

    - `group`: the standard deviation of the group's own rewards; prompts on which samples agree weigh more.
    - `batch`: that of all rewards of the batch (Hu et al. 2025; Liu et al. 2025b, «Lite PPO»).
    - `none`: no division (Dr. GRPO, Liu et al. 2025).

    Standard deviations divide by n − 1, as in TRL.

    Args:
        rewards: [P, n], of the n ≥ 2 samples of each prompt.
        all_reduce: with scale=batch, takes the variance over ranks; every rank must call then.

    Returns:
        [P, n], fp32.

    Raises:
        ValueError: an unknown scale.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale is {scale!r}; it must be one of {', '.join(get_args(Scale))}")
    rewards = widen(rewards)
    centred = rewards - rewards.mean(-1, keepdim=True)
    if scale == "none":
        return centred
    if scale == "group":
        return centred / (rewards.std(-1, keepdim=True) + STD_FLOOR)
    everything = torch.ones_like(rewards, dtype=torch.bool)
    count = torch.tensor([float(rewards.numel())], dtype=torch.float64, device=rewards.device)
    n = float(all_reduce(count) if all_reduce else count)
    variance = moments(rewards, everything, all_reduce).variance * n / max(n - 1, 1)
    return centred / (variance.sqrt().to(rewards) + STD_FLOOR)


@torch.no_grad()
def returns_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """Σ of the rewards from each token on, undiscounted (Williams 1992; Hu et al. 2025, eq. 8).

    Args:
        rewards, mask: [E, L].

    Returns:
        [E, L], fp32; 0 where masked.
    """
    kept = keep(mask, widen(rewards))
    return keep(mask, kept.flip(-1).cumsum(-1).flip(-1))


@torch.no_grad()
def differing(rewards: Tensor) -> Tensor:
    """[P] bool: whether a prompt's rewards [P, n] differ; a group of equal ones teaches nothing (Yu et al. 2025)."""
    return rewards.amax(-1) > rewards.amin(-1)


@torch.no_grad()
def overlong_penalty(lengths: Tensor, longest: int, buffer: int) -> Tensor:
    """Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13), from 0 to 1; to be taken from the score.

    0 up to `longest − buffer` tokens, then rising linearly to 1 at `longest`.

    Args:
        lengths: [E], tokens of each response.
        longest: tokens that a response may have. buffer: ≥ 0; 0 is no penalty.
    """
    if buffer == 0:
        return torch.zeros(lengths.shape, device=lengths.device)
    return ((lengths - (longest - buffer)) / buffer).clamp(0, 1)
