"""What every objective does to its inputs: widen half precision, leave out what is masked, take moments over ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]
"""Returns the elementwise sum of a tensor over all ranks."""


class Moments(NamedTuple):
    """Mean and variance over entries, both fp64 of shape []."""

    mean: Tensor
    variance: Tensor


def widen(x: Tensor) -> Tensor:
    """fp32 from anything narrower; fp64 stays, so that gradients can be checked numerically."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def keep(mask: Tensor, x: Tensor) -> Tensor:
    """`x` where `mask`, else 0, whatever stands under the mask: 0 · NaN would be NaN."""
    return torch.where(mask.bool(), x, torch.zeros((), dtype=x.dtype, device=x.device))


@torch.no_grad()
def moments(x: Tensor, mask: Tensor, all_reduce: AllReduce | None = None) -> Moments:
    """Mean and population variance of the masked-in entries, over all ranks if `all_reduce` is given.

    The variance divides by n, not n − 1, as `tf.nn.moments` in Ziegler et al. 2019 does; it thus stays finite for one
    entry. Sums are kept in fp64, where Σx² − (Σx)²/n may cancel without harm. No entries: mean and variance are 0.

    Args:
        x: any shape.
        mask: same shape, true where an entry counts.
        all_reduce: every rank must call then, also one whose mask is empty.
    """
    kept = keep(mask, x.double())
    sums = torch.stack([mask.bool().sum().double(), kept.sum(), kept.square().sum()])
    count, total, squares = (all_reduce(sums) if all_reduce else sums).unbind()
    count = count.clamp(min=1)
    mean = total / count
    return Moments(mean, (squares / count - mean.square()).clamp(min=0))
