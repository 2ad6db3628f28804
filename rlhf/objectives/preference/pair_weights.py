"""How much a token counts in a comparison, and how much a comparison counts in a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen


def desensitised(logprobs: Tensor, mask: Tensor, other_lengths: Tensor, alpha: float) -> Tensor:
    """Σ over the tokens that both responses are long enough for + α·Σ over those beyond (LD-DPO, Liu et al. 2024).

    Without it the longer response of a pair has the larger gradient for being longer.

    Args:
        logprobs: [P, L], of one response's tokens (nats), from the left.
        mask: [P, L], true at its tokens.
        other_lengths: [P], tokens of the other response.
        alpha: in [0, 1]; 1 is the plain sum, 0 leaves the surplus out.

    Returns:
        [P], nats.
    """
    beyond = torch.arange(logprobs.shape[1], device=logprobs.device)[None, :] >= other_lengths[:, None]
    weights = torch.where(beyond, alpha, 1.0) * mask
    return (widen(logprobs).masked_fill(~mask, 0) * weights).sum(-1)


@torch.no_grad()
def wpo_weights(chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor) -> Tensor:
    """w(chosen)·w(rejected) with w(y) = exp(mean over tokens of log π(y_t) − log Σ_v π(v)²) (Zhou et al. 2024, eq. 2).

    A response counts the more, the likelier it is for the policy that learns, beside what that samples itself.

    Args:
        chosen, rejected: [P], log π − log Σ_v π(v)² summed over a response's tokens.
        chosen_lengths, rejected_lengths: [P], tokens.

    Returns:
        [P], > 0, without gradient.
    """
    return torch.exp(widen(chosen) / chosen_lengths + widen(rejected) / rejected_lengths)
