"""Losses that compare all pairs of an optimisation batch, under any micro-batches and any number of ranks.

First all pairs' numbers are computed without gradients and gathered; from them, the loss and its derivative with
respect to every number. Then the micro-batches are run, in which each pair's loss is that derivative times its own
numbers: the gradient is that of the whole batch, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlhf.data.batch import Batch
from rlhf.objectives.preference.sorted_pairs import Sides

if TYPE_CHECKING:
    from lightning_modules.base import StageModule

Key = tuple[int, int, int]
"""Row, chosen and rejected response within it: the same for a pair wherever it is computed."""
Losses = Callable[[Sides, Tensor], Tensor]
"""Losses [P] of sides and weights [P]; their weighted sum is the batch's loss."""


def pair_keys(batch: Batch) -> Tensor:
    """`Key` of each pair, [P, 3], long."""
    counts = torch.tensor([len(lengths) for lengths in batch.response_lengths], device=batch.pairs.device)
    rows = torch.repeat_interleave(counts)[batch.pairs[:, 0]]
    firsts = (counts.cumsum(0) - counts)[rows]
    return torch.cat([batch.row_index[rows, None], batch.pairs - firsts[:, None]], dim=1)


def numbers(sides: Sides, batch: Batch) -> Tensor:
    """Key, weight and both sides of each pair, [P, 6], fp64, on the CPU."""
    columns = [pair_keys(batch).double(), *(x.detach().double()[:, None] for x in (batch.pair_weights, *sides))]
    return torch.cat(columns, dim=1).cpu()


class WholeBatch:
    """Pairs of a whole batch, in an order that neither micro-batches nor ranks change.

    Args:
        found: what `numbers` gave for this rank's micro-batches.
    """

    def __init__(self, module: StageModule, found: Sequence[Tensor]) -> None:
        table = gathered(module, torch.cat(list(found)) if found else torch.zeros(0, 6, dtype=torch.float64))
        for column in (2, 1, 0):
            table = table[torch.argsort(table[:, column], stable=True)]
        self.keys: list[Key] = [(int(a), int(b), int(c)) for a, b, c in table[:, :3].tolist()]
        self.weights, self.sides = table[:, 3], Sides(table[:, 4], table[:, 5])
        self.known: dict[Key, list[float]] = {}

    @torch.no_grad()
    def mean(self, losses: Losses) -> float:
        """The batch's loss; NaN where there are no pairs."""
        found = losses(self.sides, self.weights)
        return float((found * self.weights).sum() / self.weights.sum())

    @torch.enable_grad()
    def solve(self, losses: Losses) -> None:
        """Take the losses and their derivatives, for `losses` of the micro-batches."""
        sides = Sides(*(x.clone().requires_grad_() for x in self.sides))
        found = losses(sides, self.weights)
        left, right = torch.autograd.grad((found * self.weights).sum(), sides)
        told = torch.stack([found.detach(), left / self.weights, right / self.weights], dim=1)
        # A row that is twice in a batch has equal numbers, and one gradient: the mean of both.
        sums: dict[Key, tuple[Tensor, int]] = {}
        for key, values in zip(self.keys, told, strict=True):
            before, count = sums.get(key, (torch.zeros(3, dtype=torch.float64), 0))
            sums[key] = before + values, count + 1
        self.known = {key: (total / count).tolist() for key, (total, count) in sums.items()}

    def losses(self, sides: Sides, batch: Batch) -> Tensor:
        """Losses of a micro-batch's pairs [P]: the values of the whole batch, with its gradients."""
        told = [self.known[(a, b, c)] for a, b, c in pair_keys(batch).tolist()]
        value, left, right = torch.tensor(told, dtype=torch.float64).reshape(-1, 3).to(sides.left).unbind(1)
        moved = left * (sides.left - sides.left.detach())
        if sides.right.requires_grad:
            moved = moved + right * (sides.right - sides.right.detach())
        return value + moved


def gathered(module: StageModule, table: Tensor) -> Tensor:
    """The rows of all ranks' tables [n, K], rank by rank; on one rank, the table."""
    counts = torch.zeros(module.data_ranks, dtype=torch.float64)
    counts[module.data_rank] = len(table)
    sizes = [round(n) for n in module.all_reduce(counts).tolist()]
    whole = torch.zeros(sum(sizes), table.shape[1], dtype=torch.float64)
    first = sum(sizes[: module.data_rank])
    whole[first : first + len(table)] = table
    return module.all_reduce(whole)
