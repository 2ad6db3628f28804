"""Preference losses without a reference model: SimPO, CPO and ORPO.

What holds the policy in place is the length-normalised reward (SimPO) or cross-entropy on the chosen response (CPO,
ORPO). Cross-entropy is averaged over a response's own tokens, as ORPO's paper has it, so that no pair's loss depends on
what it shares a batch with; TRL averages over the tokens of a micro-batch, which is the same for one pair.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import widen

NEAR_CERTAIN = -1e-7
"""Mean log-probability (nats) above which the odds p / (1 − p) would divide by zero in fp32."""


class Responses(NamedTuple):
    """One side of P pairs: `logprobs` [P], nats summed over each response, and `lengths` [P], its tokens, ≥ 1."""

    logprobs: Tensor
    lengths: Tensor

    @property
    def means(self) -> Tensor:
        """[P], fp32: log-probability per token (nats)."""
        return widen(self.logprobs) / self.lengths


class PairLosses(NamedTuple):
    """Per pair, each [P], fp32; only `losses` carries a gradient. `nll` is the chosen response's, nats per token."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    nll: Tensor


def simpo(
    chosen: Responses,
    rejected: Responses,
    *,
    beta: float,
    target_margin: float,
    label_smoothing: float = 0.0,
    sft_coef: float = 0.0,
) -> PairLosses:
    """−log σ(β·(mean log π(y_w) − mean log π(y_l)) − γ) (Meng et al. 2024, eq. 6).

    Args:
        beta: β > 0, 1/nat, on log-probabilities per token.
        target_margin: γ ≥ 0; TRL's `simpo_gamma`.
        label_smoothing: ε in [0, 0.5): −(1 − ε)·log σ(z) − ε·log σ(−z), as in TRL.
        sft_coef: weight of the chosen response's cross-entropy per token; TRL's `cpo_alpha` (CPO-SimPO).

    Raises:
        ValueError: β ≤ 0, γ < 0, or ε out of range.
    """
    if target_margin < 0:
        raise ValueError(f"target_margin is {target_margin}; it must be at least 0")
    rewards = beta * chosen.means, beta * rejected.means
    return _contrast(rewards, chosen, beta, target_margin, label_smoothing, sft_coef)


def cpo(
    chosen: Responses, rejected: Responses, *, beta: float, label_smoothing: float = 0.0, sft_coef: float = 1.0
) -> PairLosses:
    """−log σ(β·(log π(y_w) − log π(y_l))) + α·cross-entropy of y_w (Xu et al. 2024, eq. 4 and 5).

    That is DPO against a uniform reference. The paper writes the cross-entropy as a sum; its code and TRL average it
    over tokens, and so does this.

    Args:
        beta: β > 0, 1/nat, on log-probabilities summed over a response.
        label_smoothing: as of `simpo`.
        sft_coef: α, TRL's `cpo_alpha`.

    Raises:
        ValueError: β ≤ 0, or ε out of range.
    """
    rewards = beta * widen(chosen.logprobs), beta * widen(rejected.logprobs)
    return _contrast(rewards, chosen, beta, 0.0, label_smoothing, sft_coef)


def orpo(chosen: Responses, rejected: Responses, *, odds_coef: float) -> PairLosses:
    """Cross-entropy of y_w − λ·log σ(log odds(y_w) − log odds(y_l)) (Hong et al. 2024, eq. 6 and 7).

    The odds of a response are p / (1 − p), where log p is its log-probability per token. The cross-entropy is that of
    the response, as in the paper; TRL's covers the prompt too. Rewards are λ·log p, as TRL reports them.

    Args:
        odds_coef: λ ≥ 0; TRL's `beta`.

    Raises:
        ValueError: λ < 0.
    """
    if odds_coef < 0:
        raise ValueError(f"odds_coef is {odds_coef}; it must be at least 0")
    difference = _log_odds(chosen.means) - _log_odds(rejected.means)
    losses = -chosen.means - odds_coef * F.logsigmoid(difference)
    nll = -chosen.means.detach()
    return PairLosses(losses, odds_coef * -nll, odds_coef * rejected.means.detach(), nll)


def _contrast(
    rewards: tuple[Tensor, Tensor],
    chosen: Responses,
    beta: float,
    margin: float,
    label_smoothing: float,
    sft_coef: float,
) -> PairLosses:
    if not beta > 0:
        raise ValueError(f"beta is {beta}; it must be greater than 0")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 0.5)")
    logits = rewards[0] - rewards[1] - margin
    losses = -(1 - label_smoothing) * F.logsigmoid(logits)
    if label_smoothing:
        losses = losses - label_smoothing * F.logsigmoid(-logits)
    if sft_coef:
        losses = losses - sft_coef * chosen.means
    return PairLosses(losses, rewards[0].detach(), rewards[1].detach(), -chosen.means.detach())


def _log_odds(logprobs: Tensor) -> Tensor:
    """log(p / (1 − p)) from log p."""
    logprobs = logprobs.clamp(max=NEAR_CERTAIN)
    return logprobs - torch.log(-torch.expm1(logprobs))
