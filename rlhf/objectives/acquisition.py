"""How much a person's opinion on two responses would tell, judged by an ensemble of reward models, and how to spread
questions out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen


@torch.no_grad()
def preferences_of_members(scores: Tensor) -> Tensor:
    """The probability that response i is preferred to response j, by each member: σ(r_k(i) − r_k(j)).

    Args:
        scores: [K, A], log-odds of A responses to one prompt by K Bradley–Terry reward models.

    Returns:
        [K, A, A], fp32.
    """
    scores = widen(scores)
    return torch.sigmoid(scores[:, :, None] - scores[:, None, :])


@torch.no_grad()
def pair_disagreement(scores: Tensor) -> Tensor:
    """Population variance over members of the probability that i is preferred to j (Christiano et al. 2017, §2.2.4).

    It is 0 where all members are of one opinion, however close the two responses are, and ¼ at most, where one half of
    them is certain of i and the other of j.

    Args:
        scores: [K, A], as `preferences_of_members` takes them; K ≥ 2.

    Returns:
        [A, A], fp32, symmetric, 0 on the diagonal.

    Raises:
        ValueError: a single member agrees with itself.
    """
    if len(scores) < 2:
        raise ValueError(f"disagreement needs at least two members, got {len(scores)}")
    return preferences_of_members(scores).var(0, correction=0)


@torch.no_grad()
def pair_margin(scores: Tensor) -> Tensor:
    """How far the ensemble's opinion of a pair is from a toss: |mean_k σ(r_k(i) − r_k(j)) − ½|, from 0 to ½
    (uncertainty sampling, Lewis and Gale 1994).

    A small margin may mean that the models don't know, or that the two are equally good, and then a person's opinion is
    a toss too.

    Returns:
        [A, A], fp32, symmetric, 0 on the diagonal; `scores` as in `preferences_of_members`.
    """
    return (preferences_of_members(scores).mean(0) - 0.5).abs()


@torch.no_grad()
def farthest_first(points: Tensor, count: int, known: Sequence[int] = ()) -> list[int]:
    """Points that lie far from each other: each next one is the farthest from all that are chosen (Gonzalez 1985; the
    greedy core-set of Sener and Savarese 2018).

    Args:
        points: [N, D].
        count: how many to choose, ≤ N − len(known).
        known: places of points that count as chosen before; without any the first point is the first choice.

    Returns:
        `count` places, in the order of choice; of equally far ones the first.

    Raises:
        ValueError: `count` is larger than the number of points that are left.
    """
    if count > len(points) - len(known):
        raise ValueError(f"count: {count} of {len(points) - len(known)} points")
    points = widen(points)
    distance = points.new_full((len(points),), float("inf"))
    chosen: list[int] = []
    for place in known:
        distance = torch.minimum(distance, torch.linalg.vector_norm(points - points[place], dim=1))
    taken = torch.zeros(len(points), dtype=torch.bool)
    taken[list(known)] = True
    while len(chosen) < count:
        place = int(distance.masked_fill(taken, -1).argmax())
        chosen.append(place)
        taken[place] = True
        distance = torch.minimum(distance, torch.linalg.vector_norm(points - points[place], dim=1))
    return chosen
