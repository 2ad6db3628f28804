"""How weights of several models become one: averages, and interpolation on the sphere of what each has learnt.

Shapes are those of one tensor of weights; everything is computed in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen

BLOCK = 1 << 22
"""Numbers that are widened to fp64 at a time; a whole embedding would take gigabytes."""
PARALLEL = 1e-6
"""Below this sine of the angle two vectors lie on one line, where the formula divides by 0."""


def average(weights: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Σ sᵢ·θᵢ: model soups (Wortsman et al. 2022), and WARM for reward models (Ramé et al. 2024).

    Args:
        shares: of each; an average where they sum to 1.
    """
    total = torch.zeros_like(widen(weights[0]))
    for one, share in zip(weights, shares, strict=True):
        total.add_(widen(one), alpha=share)
    return total


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Spherical interpolation (Shoemake 1985): sin((1 − t)·Ω)/sin Ω · a + sin(t·Ω)/sin Ω · b, with Ω the angle between
    a and b. On one line, where sin Ω is 0, it is the linear one.

    Args:
        t: 0: the first, 1: the second.
    """
    first, second = widen(first), widen(second)
    cosine = _cosine(first, second)
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < PARALLEL:
        return torch.lerp(first, second, t)
    return (math.sin((1 - t) * angle) * first + math.sin(t * angle) * second) / math.sin(angle)


def merge(
    weights: Sequence[Tensor],
    shares: Sequence[float],
    *,
    method: str = "linear",
    init: Tensor | None = None,
    towards_init: float = 0.0,
) -> Tensor:
    """One tensor of weights from those of several models, in fp32.

    Args:
        shares: of each model; they sum to 1, but with `task_arithmetic`.
        method: `linear` averages the weights. `slerp` interpolates what each has learnt since `init`, its task vector,
            on the sphere: WARP (Ramé et al. 2024), of more than two models one after the other, each with
            its share of those so far. `task_arithmetic` adds shares of task vectors (Ilharco et al. 2023).
        init: what all models started from.
        towards_init: share of `init` in the result: 1 − η of WARP's linear interpolation (LITI).
    """
    if method == "linear":
        merged = average(weights, shares)
    else:
        assert init is not None
        start = widen(init)
        tasks = [widen(one) - start for one in weights]
        merged = start + (average(tasks, shares) if method == "task_arithmetic" else _on_sphere(tasks, shares))
    return merged if towards_init == 0 or init is None else torch.lerp(merged, widen(init), towards_init)


def _on_sphere(tasks: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    found, so_far = tasks[0], shares[0]
    for task, share in zip(tasks[1:], shares[1:], strict=True):
        so_far += share
        found = slerp(found, task, share / so_far if so_far else 0.0)
    return found


def _cosine(first: Tensor, second: Tensor) -> float:
    """Of the angle between two tensors, seen as vectors; 1 where one of them is 0."""
    products = [0.0, 0.0, 0.0]
    blocks = zip(first.flatten().split(BLOCK), second.flatten().split(BLOCK), strict=True)
    for a, b in ((a.double(), b.double()) for a, b in blocks):
        for i, (x, y) in enumerate(((a, b), (a, a), (b, b))):
            products[i] += float(x @ y)
    inner, *squares = products
    norms = math.sqrt(squares[0]) * math.sqrt(squares[1])
    return inner / norms if norms else 1.0
