"""From a response's score to a reward at each of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf.objectives.kl import k1
from rlhf.objectives.numeric import keep, widen


@torch.no_grad()
def shape_scores(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float, clip: float | None) -> Tensor:
    """Clip scores to [−clip, clip], then take the penalty from responses without an end-of-text.

    In this order an unfinished response costs the same whatever it scored: a reward model never saw one, so that its
    score there can be anything (Stiennon et al. 2020; Huang et al. 2024).

    Args:
        scores: [E].
        finished: [E], true where the response ended with its end-of-text.
        missing_eos_penalty: ≥ 0, taken from the score.
        clip: > 0, or None for no clipping.

    Returns:
        [E], fp32.
    """
    scores = widen(scores)
    if clip is not None:
        scores = scores.clamp(-clip, clip)
    return torch.where(finished.bool(), scores, scores - missing_eos_penalty)


@torch.no_grad()
def shaped_rewards(
    scores: Tensor, logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """−kl_coef·(log π − log π_ref) at each response token, and the score at the last (Ziegler et al. 2019, eq. 2;
    Ouyang et al. 2022, eq. 2).

    The KL term is k1 of the rollout, a reward like any other: no gradient passes through it.

    Args:
        scores: [E], shaped already.
        logprobs, reference_logprobs: [E, L], of the sampled tokens at the sampling temperature.
        mask: [E, L], true at response tokens, the end-of-text among them. A row without any gets no reward at all.
        kl_coef: price of a nat, ≥ 0; 0 where the KL is in the loss instead.

    Returns:
        [E, L], fp32; 0 where masked.
    """
    mask = mask.bool()
    rewards = keep(mask, -kl_coef * k1(logprobs, reference_logprobs))
    position = torch.arange(mask.shape[-1], device=mask.device)
    last = torch.where(mask, position, -1).amax(-1, keepdim=True)
    return rewards + keep(mask & (position == last), widen(scores)[:, None].expand(mask.shape))
