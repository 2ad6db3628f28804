"""How far people agree: Krippendorff's α, and what their labels say together (Dawid & Skene 1979)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = ("nominal", "ordinal")


@torch.no_grad()
def coincidences(counts: Tensor) -> Tensor:
    """Pairs of values that different annotators gave to the same item (Krippendorff 2011, step B).

    Of an item with m values, o_ck = n_c·(n_k − [c = k]) / (m − 1); an item with fewer than two values has no pair.

    Args:
        counts: [U, V], how many annotators gave item u the value v.

    Returns:
        [U, V, V], fp64; their sum over items is the coincidence matrix.
    """
    counts = counts.double()
    others = (counts.sum(1) - 1).clamp_min(1)
    pairs = counts[:, :, None] * counts[:, None, :] - torch.diag_embed(counts)
    return pairs / others[:, None, None]


@torch.no_grad()
def krippendorff_alpha(coincidence: Tensor, level: str = "nominal") -> Tensor:
    """α = 1 − D_o / D_e, the disagreement that was observed over the one that chance makes (Krippendorff 2011).

    With n_c = Σ_k o_ck and n = Σ_c n_c: D_o = Σ o_ck·δ²_ck / n and D_e = Σ n_c·n_k·δ²_ck / (n·(n − 1)). The distance
    δ²_ck is [c ≠ k] for `nominal` values; for `ordinal` ones, c < k, it is (Σ_{g=c…k} n_g − (n_c + n_k)/2)².

    Args:
        coincidence: [..., V, V], sums of `coincidences`; ordinal values in their order.
        level: one of `LEVELS`.

    Returns:
        [...], fp64: 1 is perfect agreement, 0 that of chance; NaN where all values are the same, or there is no pair.

    Raises:
        ValueError: `level` is another word.
    """
    o = coincidence.double()
    margins = o.sum(-1)
    total = margins.sum(-1)
    if level == "nominal":
        distance = 1 - torch.eye(o.shape[-1], dtype=o.dtype, device=o.device).expand(o.shape)
    elif level == "ordinal":
        # Σ_{g=c…k} n_g − (n_c + n_k)/2 is the distance between the middles of the two values' ranks.
        middle = margins.cumsum(-1) - margins / 2
        distance = (middle[..., :, None] - middle[..., None, :]) ** 2
    else:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    observed = (o * distance).sum((-1, -2))
    expected = (margins[..., :, None] * margins[..., None, :] * distance).sum((-1, -2))
    return torch.where(expected > 0, 1 - (total - 1) * observed / expected, math.nan)


class Consensus(NamedTuple):
    """What several annotators' labels say together.

    Attributes:
        posterior: [U, V], probability of each value to be the item's true one.
        confusion: [A, V, V], probability that annotator a says k where c is true.
        prior: [V], share of each true value.
        steps: iterations that it took.
    """

    posterior: Tensor
    confusion: Tensor
    prior: Tensor
    steps: int


@torch.no_grad()
def dawid_skene(
    labels: Tensor, values: int, smoothing: float = 0.0, tolerance: float = 1e-6, most_steps: int = 1000
) -> Consensus:
    """Maximum-likelihood estimate of true values and of annotators' errors, by EM (Dawid & Skene 1979).

    E: T_uc ∝ p_c · Π_a π_a[c, l_au]. M: p_c = mean_u T_uc, π_a[c, k] ∝ Σ_u T_uc·[l_au = k] + smoothing. It starts from
    each item's shares of votes. An annotator's labels thus count by how well they fit the others'.

    Args:
        labels: [A, U] whole numbers in [0, V), −1 where annotator a did not see item u. Each item needs one label.
        values: V.
        smoothing: added to every cell of the confusion matrices; 0 is the paper's.
        tolerance: in the posterior, at which it stops.

    Raises:
        ValueError: an item has no label.
    """
    said = torch.nn.functional.one_hot(labels.clamp_min(0), values).double() * (labels >= 0)[..., None]  # [A, U, V]
    counts = said.sum(0)
    if bool((counts.sum(1) == 0).any()):
        raise ValueError("an item has no label")
    posterior = counts / counts.sum(1, keepdim=True)
    least = torch.finfo(torch.float64).tiny
    steps = 0
    while steps < most_steps:
        steps += 1
        prior = posterior.mean(0)
        confusion = torch.einsum("uc,auk->ack", posterior, said) + smoothing
        # A value that nobody's items have true leaves an empty row.
        confusion = confusion / confusion.sum(2, keepdim=True).clamp_min(least)
        logs = prior.clamp_min(least).log() + torch.einsum("auk,ack->uc", said, confusion.clamp_min(least).log())
        before, posterior = posterior, logs.softmax(1)
        if float((posterior - before).abs().max()) < tolerance:
            break
    return Consensus(posterior, confusion, prior, steps)


def noise_of(agreement: float) -> float:
    """Probability ε that a label is wrong, from how often two labels of one item agree.

    Of two values, with independent errors of the same probability, a = (1 − ε)² + ε², so ε = (1 − √(2a − 1)) / 2; one
    half, where labels agree no more often than coins.
    """
    return (1 - math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def noise_of_majority(noise: float, votes: int) -> float:
    """Probability that the majority of independent votes is wrong, each with probability ε; of an even number, given
    that there is a majority: P(wrong) / (P(wrong) + P(right)), binomial."""
    wrong = right = 0.0
    for errors in range(votes + 1):
        chance = math.comb(votes, errors) * noise**errors * (1 - noise) ** (votes - errors)
        if 2 * errors > votes:
            wrong += chance
        elif 2 * errors < votes:
            right += chance
    return wrong / (wrong + right)
