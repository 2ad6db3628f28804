"""The DataModule: optimisation batches as a function of the step, in stretches from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import torch

from lightning_modules.base import StageModule
from lightning_modules.updates.micro_batches import Micro, Step, cut
from rlhf.data.rows import Row


class Stretch:
    """Steps `start` to `stop`: Lightning calls it an epoch, and validates after it."""

    def __init__(self, start: int, stop: int, make: Callable[[int], Step]) -> None:
        self.start, self.stop, self.make = start, stop, make

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[Step]:
        for number in range(self.start, self.stop):
            yield self.make(number)


class HeldOut:
    """Micro-batches of a validation. Not a list: Lightning takes a list for many loaders."""

    def __init__(self, micros: Sequence[Micro]) -> None:
        self.micros = micros

    def __len__(self) -> int:
        return len(self.micros)

    def __iter__(self) -> Iterator[Micro]:
        return iter(self.micros)


class StageData(L.LightningDataModule):
    """Rows in, optimisation batches out.

    Args:
        train: training rows.
        val: held-out rows; none switches validation off.
        batches: maps a step to the numbers of its rows (`rlhf.data.stream`): a resumed run needs no other position.
        tokens_per_microbatch: tokens of a micro-batch.
        whole: hand out a rank's rows as one piece (PPO's prompts), instead of micro-batches cut by tokens.
        val_every: steps between validations; `None` validates at the end alone.
        val_batches: micro-batches a validation looks at, over all ranks; `None` for all.
    """

    def __init__(
        self,
        train: Sequence[Row],
        val: Sequence[Row],
        batches: Callable[[int], Sequence[int]],
        tokens_per_microbatch: int,
        *,
        whole: bool = False,
        val_every: int | None = None,
        val_batches: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.val, self.batches = train, val, batches
        self.tokens_per_microbatch, self.whole = tokens_per_microbatch, whole
        self.val_every, self.val_batches = val_every, val_batches

    @property
    def module(self) -> StageModule:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        assert isinstance(module, StageModule)
        return module

    def validates_at(self, step: int, total: int) -> bool:
        """Whether a validation follows step number `step` (counted from 1)."""
        ends = step >= total or self.module.stopped is not None
        return bool(self.val) and (ends or (self.val_every is not None and step % self.val_every == 0))

    def step(self, number: int) -> Step:
        rows = [self.train[i] for i in self.batches(number)]
        return Step(number, self._share(rows))

    def _share(self, rows: Sequence[Row], first: int | None = None) -> list[Micro]:
        rank, world = self.module.data_rank, self.module.data_ranks
        if self.whole:
            mine = rows[rank::world]
            return [Micro(mine) if mine else Micro(rows[:1], live=False)]
        return cut(rows, self.tokens_per_microbatch, rank, world, first)

    def train_dataloader(self) -> Stretch:
        """Called anew after every validation (`reload_dataloaders_every_n_epochs=1`)."""
        start = self.module.step
        stop = start if self.module.done else self.module.total_steps
        if self.val and self.val_every is not None:
            stop = min(stop, (start // self.val_every + 1) * self.val_every)
        return Stretch(start, stop, self.step)

    def val_dataloader(self) -> HeldOut:
        return HeldOut(self._share(self.val, self.val_batches) if self.val else [])

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Rows are Python numbers; they become tensors, on the device, one micro-batch at a time."""
        return batch
