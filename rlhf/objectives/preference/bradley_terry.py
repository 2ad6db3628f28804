"""Bradley–Terry on scores of a chosen and a rejected response, and how right and how sure such scores are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.objectives.numeric import AllReduce, widen


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
