"""Alignment via optimal transport: a whole batch's rewards are compared by rank, not pair by pair."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen
from rlhf.objectives.preference.pair_losses import logistic


class Coupling(NamedTuple):
    """Which entry of one sample is matched with which of the other, [M] each, and with how much of their weights."""

    left: Tensor
    right: Tensor
    mass: Tensor


class Sides(NamedTuple):
    """What AOT compares, [P] each, nats: `left` is to lie above `right` in distribution."""

    left: Tensor
    right: Tensor


@torch.no_grad()
def by_rank(left: Tensor, right: Tensor, weights: Tensor) -> Coupling:
    """The optimal transport between two weighted samples on a line: the lowest to the lowest, and so on.

    Args:
        left, right: [P].
        weights: [P], > 0, of both. Entries of different weights are matched in parts.

    Returns:
        At most 2P − 1 matches whose masses add up to the weights; P where all weights are equal. Equal entries keep
        their order.
    """
    weights = weights.double()
    orders = [torch.argsort(x, stable=True) for x in (left, right)]
    ends = [weights[order].cumsum(0) for order in orders]
    cuts = torch.cat(ends).unique()
    begins = torch.cat([cuts.new_zeros(1), cuts[:-1]])
    middles = (begins + cuts) / 2
    # Rounding may put the last middle beyond one of the two sums.
    places = [torch.searchsorted(end, middles).clamp(max=len(end) - 1) for end in ends]
    return Coupling(orders[0][places[0]], orders[1][places[1]], cuts - begins)


def aot(sides: Sides, weights: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Losses of the matches between sorted `left` and sorted `right` (Melnyk et al. 2024), added up by left entry.

    With u sorted and v sorted it is −(1 − ε)·log σ(β(u − v)) − ε·log σ(−β(u − v)), for convex losses the least over all
    matchings: the violation of first-order stochastic dominance of `left` over `right`. `aot` compares the policy's
    log-ratios between chosen and rejected with the reference's; `aot_unpaired` chosen responses' log-ratios to the
    reference with rejected ones'. With equal weights that is TRL's.

    Args:
        weights: [P], how much a pair counts, > 0.

    Returns:
        [P], fp32 or better: the mean loss of each left entry over its matches. The loss of the batch is their sum
        times `weights`; its gradient reaches both sides.
    """
    left, right = widen(sides.left), widen(sides.right)
    found = by_rank(left, right, weights)
    losses = logistic(beta * (left[found.left] - right[found.right]), label_smoothing)
    sums = torch.zeros_like(left).index_add(0, found.left, losses * found.mass.to(losses))
    return sums / weights.to(losses)
