"""How the episodes of an iteration are dealt into updates, and what an iteration's updates were like."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from rlhf.data.rows import Row


def minibatches(
    rows: Sequence[Row | None], parts: int, *, seed: int, step: int, epoch: int, rank: int, ranks: int
) -> list[list[Row]]:
    """This rank's rows of each minibatch: one permutation of the whole batch, drawn from (seed, step, epoch).

    Every rank must call: which rows are learnt is agreed upon.

    Args:
        rows: this rank's, of which number i is number `rank + i · ranks` of the whole batch; `None` is not learnt.
        parts: minibatches; those that would be empty everywhere are left out.
    """
    learnt = numbers_everywhere([rank + i * ranks for i, row in enumerate(rows) if row is not None])
    key = np.array([seed, (2 << 48) + step * 1024 + epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(np.array(learnt, dtype=np.int64))
    mine = [[rows[i // ranks] for i in sorted(part.tolist()) if i % ranks == rank] for part in _split(order, parts)]
    return [[row for row in part if row is not None] for part in mine]


def summary(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the iteration's updates; tokens are added up; the first ratio shows whether sampling agrees.

    An iteration in which nothing was worth learning has no updates, and so no means.
    """
    if not history:
        return {"tokens": 0.0, "policy/updates": 0.0}
    made = [h for h in history if all(map(math.isfinite, h.values()))] or history
    metrics = {name: float(np.mean([h[name] for h in made])) for name in history[0]}
    metrics["tokens"] = float(np.sum([h["tokens"] for h in history]))
    metrics["skipped"] = history[-1]["skipped"]
    metrics["policy/updates"] = float(len(history))
    return metrics


def _split(order: np.ndarray, parts: int) -> list[np.ndarray]:
    return [part for part in np.array_split(order, parts) if len(part)]


def numbers_everywhere(numbers: list[int]) -> list[int]:
    """The numbers of all ranks, sorted; a tensor group's processes have the same ones."""
    if not torch.distributed.is_initialized():
        return numbers
    found: list[list[int]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(found, numbers)
    return sorted({number for part in found for number in part})
