"""Updates that would destroy the weights are not made but counted and written down; a few in a row stop a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_modules.updates.micro_batches import Micro
from rlhf.errors import TrainingError
from rlhf.runs.files import atomic_write_json

log = logging.getLogger("rlhf")

WRITTEN = 10
"""Bad batches that are written to disk in one run; more would tell no more."""


@dataclass(frozen=True)
class Place:
    """Where a process stands: the step under way, the run's directory, and its number among all processes.

    Attributes:
        tensor_parallel: processes that have the same rows.
        data_rank: number of this process's share of the data.
    """

    step: int
    directory: Path
    rank: int = 0
    world_size: int = 1
    data_rank: int = 0
    tensor_parallel: int = 1


@dataclass
class BadSteps:
    """Steps whose loss or gradient was not finite.

    Attributes:
        skipped: updates of the whole run that were not made.
        in_a_row: latest steps of which no update was made.
        reason: why the latest update was not made.
    """

    skipped: int = 0
    in_a_row: int = 0
    reason: str = ""
    _made_now: int = 0
    _skipped_now: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]

    def allows(self, place: Place, values: Mapping[str, float], seen: Sequence[tuple[Micro, Tensor]]) -> bool:
        """Whether all values are finite; otherwise the update is counted and its batch written down.

        Args:
            values: loss and gradient norms, the same on all ranks: they come to the same answer.
            seen: this rank's micro-batches and their loss sums.
        """
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not bad:
            self._made_now += 1
            return True
        self.skipped += 1
        self._skipped_now += 1
        self.reason = ", ".join(f"{name} is {value}" for name, value in bad.items())
        if self._skipped_now == 1:
            path = None
            if self.skipped <= WRITTEN:
                path = place.directory / f"bad_batch-{place.step:08d}.json"
                self.reason += f" (rows {write_batch(path, place, bad, seen)} in {path.name})"
            if place.rank == 0:
                log.warning("step %d: %s; the update is skipped", place.step, self.reason)
        return False

    def end_step(self, step: int, limit: int, lr: float) -> None:
        """Close the step.

        Args:
            limit: `train.max_bad_steps`; lr: `algo.lr`, for the message.

        Raises:
            TrainingError: it was one too many of which no update was made.
        """
        bad = self._skipped_now > 0 and self._made_now == 0
        self.in_a_row = self.in_a_row + 1 if bad else 0
        self._made_now = self._skipped_now = 0
        if self.in_a_row >= limit:
            raise TrainingError(
                f"step {step}: {self.reason}; that makes train.max_bad_steps={limit} in a row, and the "
                f"weights are as before them: look at those rows, or start again with a lower algo.lr than "
                f"{lr:g}"
            )


def write_batch(path: Path, place: Place, bad: Mapping[str, float], seen: Sequence[tuple[Micro, Tensor]]) -> str:
    """Write the batch of all ranks as JSON; returns the numbers of the rows to look at first. All ranks call it.

    Those are the rows of micro-batches whose own loss is not finite; where only a gradient is not, all rows.
    """
    mine: list[dict[str, Any]] = [
        {
            "rank": place.data_rank,
            "loss": repr(float(loss)),
            "rows": [{"row": row.index, "prompt": row.prompt, "responses": row.responses} for row in micro.rows],
        }
        for micro, loss in seen
        if micro.live
    ]
    found: list[list[dict[str, Any]]] = [mine]
    if place.world_size > 1:
        found = [[] for _ in range(place.world_size)]
        torch.distributed.all_gather_object(found, mine)
        found = found[:: place.tensor_parallel]  # a tensor group has the same rows
    micros = [micro for part in found for micro in part]
    if place.rank == 0:
        values = {name: repr(value) for name, value in bad.items()}
        try:
            atomic_write_json(path, {"step": place.step, "not_finite": values, "microbatches": micros})
        except OSError as error:
            log.warning("%s could not be written: %s", path, error)
    suspects = [micro for micro in micros if not math.isfinite(float(micro["loss"]))] or micros
    numbers = sorted({row["row"] for micro in suspects for row in micro["rows"]})
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
