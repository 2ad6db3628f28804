"""What reward models minimise beside plain Bradley–Terry: margins, wrong labels, scores around 0, whole rankings."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen
from rlhf.objectives.preference.bradley_terry import bradley_terry


def pair_losses(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | None = None,
    label_smoothing: float = 0.0,
    center_coef: float = 0.0,
) -> Tensor:
    """−(1 − ε)·log σ(z) − ε·log σ(−z) + c·(r_chosen + r_rejected)², with z = r_chosen − r_rejected − margin.

    The margin is Llama 2's (Touvron et al. 2023, eq. 2); the square keeps the scores of a pair around 0 (Eisenstein et
    al. 2023, section 2; TRL's `center_rewards_coefficient`).

    Args:
        chosen, rejected: [P], scores.
        margin: [P], how far apart the scores should be at least.
        label_smoothing: ε in [0, 0.5), probability that a label is wrong; 0 is plain Bradley–Terry.
        center_coef: c ≥ 0, 1/score².

    Returns:
        Losses [P], nats.

    Raises:
        ValueError: ε or c out of range.
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 0.5)")
    if center_coef < 0:
        raise ValueError(f"center_coef is {center_coef}; it must be at least 0")
    losses = bradley_terry(chosen, rejected, margin=margin)
    if label_smoothing:
        other = bradley_terry(rejected, chosen, margin=None if margin is None else -margin)
        losses = (1 - label_smoothing) * losses + label_smoothing * other
    if center_coef:
        losses = losses + center_coef * (widen(chosen) + widen(rejected)).square()
    return losses


class Stages(NamedTuple):
    """Losses and weights of R responses, each [R]; a response that beats no other one has the weight 0."""

    losses: Tensor
    weights: Tensor


def plackett_luce(scores: Tensor, pairs: Tensor, rows: Tensor) -> Stages:
    """−log P(response is chosen first among itself and those that it beats), for each response that beats any.

    Summed over a ranking these are −log of the Plackett–Luce probability of the whole ranking (Plackett 1975; Zhu et
    al. 2023, eq. 4), for two responses Bradley–Terry. Each weighs 1 / (such responses of its row), so that a long
    ranking counts as much as a short one. Responses with equal ranks don't compete with each other.

    Args:
        scores: [R]. pairs: [P, 2], numbers of a better and a worse response of the same row.
        rows: [R], number of each response's row.
    """
    scores = widen(scores)
    n = len(scores)
    beats = torch.zeros(n, n, dtype=torch.bool, device=scores.device)
    beats[pairs[:, 0], pairs[:, 1]] = True
    staged = beats.any(-1)
    among = beats | torch.eye(n, dtype=torch.bool, device=scores.device)
    losses = scores[None, :].masked_fill(~among, float("-inf")).logsumexp(-1) - scores
    same_row = (rows[:, None] == rows[None, :]).double()
    stages = same_row @ staged.double()
    weights = torch.where(staged, 1 / stages.clamp(min=1), 0.0)
    return Stages(losses, weights.to(scores))
