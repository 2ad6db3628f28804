"""The losses of the DPO family, each a formula of a pair's two rewards, which `dpo.py` makes from log-probabilities.

x is β·(chosen score − rejected score), c and r are β times the log-ratios of the chosen and the rejected response; all
[P], fp32, without a unit. Every function returns losses [P], unreduced. ε is the probability that a label is wrong.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import widen


def logistic(x: Tensor, epsilon: float = 0.0) -> Tensor:
    """−(1 − ε)·log σ(x) − ε·log σ(−x): DPO (Rafailov et al. 2023, eq. 7); with ε > 0 cDPO (Mitchell 2023)."""
    return -(1 - epsilon) * F.logsigmoid(x) - epsilon * F.logsigmoid(-x)


def hinge(x: Tensor) -> Tensor:
    """max(0, 1 − x): SLiC (Zhao et al. 2023), on the log-ratios."""
    return torch.relu(1 - x)


def robust(x: Tensor, epsilon: float) -> Tensor:
    """(−(1 − ε)·log σ(x) + ε·log σ(−x)) / (1 − 2ε): rDPO (Chowdhury et al. 2024).

    Its mean over labels that were flipped with probability ε is the loss of the labels before; cDPO's is not.
    """
    return (-(1 - epsilon) * F.logsigmoid(x) + epsilon * F.logsigmoid(-x)) / (1 - 2 * epsilon)


def exo_pair(x: Tensor, epsilon: float) -> Tensor:
    """KL(q ‖ p) of q = (σ(x), σ(−x)) from p = (1 − ε, ε): EXO for pairs (Ji et al. 2024, eq. 16); ε > 0."""
    chosen = torch.sigmoid(x) * (F.logsigmoid(x) - math.log1p(-epsilon))
    return chosen + torch.sigmoid(-x) * (F.logsigmoid(-x) - math.log(epsilon))


def discopop(x: Tensor, tau: float) -> Tensor:
    """(1 − m)·(−log σ(x)) + m·exp(−x) with m = σ(x/τ): LRML, found by a language model (Lu et al. 2024, eq. 5).

    m·exp(−x) is taken as one exponential: exp(−x) alone overflows where m is 0.
    """
    return torch.sigmoid(-x / tau) * -F.logsigmoid(x) + torch.exp(F.logsigmoid(x / tau) - x)


def squared(difference: Tensor, beta: float) -> Tensor:
    """(difference − 1/(2β))²: IPO (Azar et al. 2023, eq. 17).

    Args:
        difference: [P], of the log-ratios per token, nats per token, without β.
    """
    return (difference - 1 / (2 * beta)).square()


def nca_pair(c: Tensor, r: Tensor) -> Tensor:
    """−log σ(c) − ½·log σ(−c) − ½·log σ(−r): NCA for pairs (Chen et al. 2024)."""
    return -F.logsigmoid(c) - 0.5 * F.logsigmoid(-c) - 0.5 * F.logsigmoid(-r)


def bco_pair(c: Tensor, r: Tensor, shift: float = 0.0) -> Tensor:
    """−log σ(c − δ) − log σ(δ − r): BCO on pairs (Jung et al. 2024): is this response a chosen one?

    Args:
        shift: δ, the mean of the rewards of chosen and rejected responses.
    """
    return -F.logsigmoid(c - shift) - F.logsigmoid(shift - r)


def sppo_hard(c: Tensor, r: Tensor, beta: float) -> Tensor:
    """(c/β − 1/(2β))² + (r/β + 1/(2β))²: SPPO whose win rates are 1 and 0 (Wu et al. 2024, eq. 4.7)."""
    return ((c - 0.5) / beta).square() + ((r + 0.5) / beta).square()


def apo_zero(c: Tensor, r: Tensor) -> Tensor:
    """1 − σ(c) + σ(r): for chosen responses better than the model's own (D'Oosterlinck et al. 2024, eq. 7)."""
    return torch.sigmoid(-c) + torch.sigmoid(r)


def apo_down(c: Tensor, r: Tensor) -> Tensor:
    """σ(c) + 1 − σ(c − r): for chosen responses worse than the model's own (D'Oosterlinck et al. 2024, eq. 8)."""
    return torch.sigmoid(c) + torch.sigmoid(r - c)


def chosen_nll(logprobs: Tensor, lengths: Tensor) -> Tensor:
    """−log π(chosen) / its tokens, what RPO (Pang et al. 2024) and MPO (Wang et al. 2024) add to a preference loss.

    TRL divides by the tokens of all chosen responses of a micro-batch instead; for one pair that is the same.

    Args:
        logprobs: [P], summed over the chosen responses (nats). lengths: [P], their tokens.

    Returns:
        [P], nats per token.
    """
    return -widen(logprobs) / lengths
