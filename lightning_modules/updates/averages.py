"""Sums and counts that become means only once: over micro-batches and ranks, whatever their sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Means:
    """Weighted means by name, kept as (Σ weight·value, Σ weight) in fp64 until `reduce`."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor, weights: Tensor | None = None) -> None:
        """Add values of any shape; without weights each counts 1."""
        values = values.detach().double()
        if weights is None:
            pair = torch.stack([values.sum(), values.new_tensor(values.numel())])
        else:
            weights = weights.detach().double()
            pair = torch.stack([(values * weights).sum(), weights.sum()])
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def total(self, name: str, amount: float | Tensor) -> None:
        """Add to a sum that is reported as a sum, not as a mean (token counts, byte counts)."""
        self.add(f"{name}#sum", torch.as_tensor(amount, dtype=torch.float64).detach().reshape(1))

    def merge(self, other: Means) -> None:
        for name, pair in other.sums.items():
            self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def zeroed(self) -> Means:
        """The same names with weight 0: what a rank adds where it had nothing to measure."""
        empty = Means()
        empty.sums = {name: torch.zeros_like(pair) for name, pair in self.sums.items()}
        return empty

    def reduce(self, all_reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means over everything added on all ranks. Every rank must have added the same names."""
        if not self.sums:
            return {}
        names = sorted(self.sums)
        table = all_reduce(torch.stack([self.sums[name].cpu() for name in names])).tolist()
        result = {}
        for name, (total, count) in zip(names, table, strict=True):
            if name.endswith("#sum"):
                result[name.removesuffix("#sum")] = total
            else:
                result[name] = total / count if count else float("nan")
        return result
