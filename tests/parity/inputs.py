"""Random inputs of the golden values, and gradients of what a library makes of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Draw:
    """Random inputs that the golden file holds exactly: six decimals."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        x = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale + mean
        return torch.round(x, decimals=6)

    def lengths(self, n: int, low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n,), generator=self.generator)


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs))


def columns(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}
