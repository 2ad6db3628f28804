"""What is learned from pairs of a chosen and a rejected response: Bradley–Terry, and the DPO family."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import AllReduce, widen

DPOLoss = Literal["sigmoid", "ipo", "hinge"]


class DPOResult(NamedTuple):
    """Per pair, each [P], fp32; only `losses` carries a gradient.

    Rewards are the implicit ones, β·(log π(y|x) − log π_ref(y|x)): in nats times β, up to a constant of the prompt.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def bradley_terry(
    chosen: Tensor, rejected: Tensor, weights: Tensor | None = None, margin: Tensor | float | None = None
) -> Tensor:
    """−log σ(r_chosen − r_rejected − margin) of each pair (Ouyang et al. 2022, eq. 1; margin: Touvron 2023, eq. 2).

    Args:
        chosen: [P], scores of the better responses.
        rejected: [P], scores of the worse ones.
        weights: [P], multiplies each pair's loss: 1 / (pairs of the same prompt) averages within prompts first.
        margin: [P] or one number, how far apart the scores should be at least.

    Returns:
        Losses [P], unreduced, in nats.
    """
    difference = widen(chosen) - widen(rejected)
    if margin is not None:
        difference = difference - margin
    losses = -F.logsigmoid(difference)
    return losses if weights is None else losses * weights


def dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    loss: DPOLoss = "sigmoid",
    label_smoothing: float = 0.0,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
) -> DPOResult:
    """Direct preference optimisation, with Δ the chosen log-ratio log(π/π_ref) minus the rejected one.

    - `sigmoid`: −(1 − ε)·log σ(βΔ) − ε·log σ(−βΔ); ε = 0 is Rafailov et al. 2023, eq. 7; ε > 0 is conservative DPO
      (Mitchell 2023), for labels that are wrong with probability ε.
    - `ipo`: (Δ̄ − 1/(2β))² (Azar et al. 2023, eq. 17), where Δ̄ divides each log-ratio by its response's length, as TRL
      does: else the target 1/(2β) would mean less for long responses than for short ones.
    - `hinge`: max(0, 1 − βΔ) (SLiC, Zhao et al. 2023, on the log-ratios).

    Args:
        policy_chosen, policy_rejected: [P], log-probabilities (nats) summed over each response, with gradient.
        reference_chosen, reference_rejected: [P], the same of the frozen reference; no gradient flows into them.
        beta: strength of the pull to the reference, > 0.
        loss: one of the three above.
        label_smoothing: ε in [0, 0.5); sigmoid only.
        chosen_lengths, rejected_lengths: [P], tokens summed over, at least 1; ipo only needs them.

    Raises:
        ValueError: an unknown loss, β ≤ 0, label smoothing out of range or with another loss, ipo without lengths.
    """
    if loss not in get_args(DPOLoss):
        raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(get_args(DPOLoss))}")
    if not beta > 0:
        raise ValueError(f"beta is {beta}; it must be greater than 0")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 0.5)")
    if label_smoothing and loss != "sigmoid":
        raise ValueError(f"label_smoothing is {label_smoothing}, but loss={loss} has none; set it to 0")

    chosen = widen(policy_chosen) - widen(reference_chosen).detach()
    rejected = widen(policy_rejected) - widen(reference_rejected).detach()
    if loss == "ipo":
        if chosen_lengths is None or rejected_lengths is None:
            raise ValueError("loss=ipo averages by length: pass chosen_lengths and rejected_lengths")
        losses = (chosen / chosen_lengths - rejected / rejected_lengths - 1 / (2 * beta)).square()
    else:
        logits = beta * (chosen - rejected)
        if loss == "hinge":
            losses = torch.relu(1 - logits)
        else:
            losses = -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)
    return DPOResult(losses, beta * chosen.detach(), beta * rejected.detach())


@torch.no_grad()
def accuracy(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Per pair [P]: 1 where the chosen response scores higher, 0 where lower, and 1/2 where they tie.

    A tie counts one half, so that a model that says the same of everything has chance's accuracy, not 0.
    """
    chosen, rejected = widen(chosen), widen(rejected)
    return (chosen > rejected).to(chosen.dtype) + 0.5 * (chosen == rejected).to(chosen.dtype)


@torch.no_grad()
def calibration_bins(
    probabilities: Tensor, weights: Tensor | None = None, bins: int = 10, all_reduce: AllReduce | None = None
) -> Tensor:
    """Sums a bin of equal width over [0, 1], [3, bins], fp64: weights, probabilities, and how often it happened.

    Each pair is presented both ways round, as (p, it happened) and (1 − p, it did not). Seen one way only, the outcome
    would always be «chosen won», and a model that says 1 of everything would look calibrated.

    Args:
        probabilities: [P], the model's that the chosen response is the better one, σ(r_chosen − r_rejected).
        weights: [P], how much a pair counts; 1 each if not given.
        bins: at least 1; an even number, or pairs near 1/2 cancel in the middle bin.
        all_reduce: sums the bins over ranks; every rank must call then.
    """
    p = probabilities.double()
    w = torch.ones_like(p) if weights is None else weights.double()
    said = torch.cat([p, 1 - p])
    happened = torch.cat([torch.ones_like(p), torch.zeros_like(p)])
    weight = torch.cat([w, w])
    index = (said * bins).long().clamp(0, bins - 1)
    # A product with the members of each bin: on a GPU index_add and bincount add in any order, so the last bits vary.
    members = F.one_hot(index, bins).double()
    sums = torch.stack([weight, weight * said, weight * happened]) @ members
    return all_reduce(sums) if all_reduce else sums


@torch.no_grad()
def expected_calibration_error(
    probabilities: Tensor, weights: Tensor | None = None, bins: int = 10, all_reduce: AllReduce | None = None
) -> Tensor:
    """Σ_bins (weight of bin / weight) · |mean outcome − mean probability| (Naeini et al. 2015).

    Args: as `calibration_bins`.

    Returns:
        Scalar in [0, 1], fp64; NaN if there are no pairs.
    """
    weight, said, happened = calibration_bins(probabilities, weights, bins, all_reduce)
    return (happened - said).abs().sum() / weight.sum()
