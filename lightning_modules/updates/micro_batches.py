"""How an optimisation batch is cut into micro-batches and shared between ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rlhf.data.batch import microbatches
from rlhf.data.rows import Row


@dataclass(frozen=True)
class Micro:
    """Rows that pass through the model together. Where `live` is false they only keep the ranks in step: weight 0."""

    rows: Sequence[Row] = field(repr=False)
    live: bool = True


@dataclass(frozen=True)
class Step:
    """One optimisation batch: its number (from 0), and this rank's micro-batches."""

    number: int
    micros: list[Micro]

    @property
    def rows(self) -> list[Row]:
        """This rank's rows, of all its micro-batches."""
        return [row for micro in self.micros for row in micro.rows]


def cut(
    rows: Sequence[Row], tokens_per_microbatch: int, rank: int = 0, world: int = 1, first: int | None = None
) -> list[Micro]:
    """This rank's micro-batches of an optimisation batch; with `first`, only its first `first` micro-batches.

    Micro-batches are formed once for all ranks, then dealt out, so that no rank count changes what is computed. All
    ranks get equally many: a collective that one rank skips would hang the others.
    """
    whole = microbatches(rows, tokens_per_microbatch)[:first]
    if not whole:
        return []
    mine = [Micro(rows) for rows in whole[rank::world]]
    missing = -(-len(whole) // world) - len(mine)
    return mine + [Micro(whole[0], live=False)] * missing


def equalise(micros: list[Micro], spare: Sequence[Row]) -> list[Micro]:
    """Pad this rank's micro-batches with dead ones up to the largest number over ranks; `spare` rows fill them."""
    most = max_over_ranks(len(micros))
    return micros + [Micro(spare[:1], live=False)] * (most - len(micros))


def max_over_ranks(value: int) -> int:
    """The largest value over all ranks."""
    if not torch.distributed.is_initialized():
        return value
    found = [0] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return max(found)
