"""Every ordered pair of outcomes, weighted by the probability with which Bradley–Terry prefers the first of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from closed_form import OUTCOMES, World, fit, new_policy
from torch import Tensor

from lightning_modules.data import StageData
from rlhf.config import AlgoConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row

PAIRS = tuple((i, j) for i in range(len(OUTCOMES)) for j in range(len(OUTCOMES)) if i != j)


def preferences(world: World) -> Tensor:
    """[prompts, pairs]: how often the first outcome is preferred."""
    scores = world.shaped()
    first, second = zip(*PAIRS, strict=True)
    return torch.sigmoid(scores[:, list(first)] - scores[:, list(second)])


def pair_rows(world: World, values: Tensor | None = None) -> list[Row]:
    """A row for each prompt.

    Args:
        values: [prompts, outcomes], of which a pair's margin is the difference; none: there are no margins.
    """
    rows = [dataclasses.replace(row, pairs=PAIRS) for row in world.rows]
    if values is None:
        return rows
    return [
        dataclasses.replace(row, margins=tuple(float(of_row[i] - of_row[j]) for i, j in PAIRS))
        for row, of_row in zip(rows, values, strict=True)
    ]


def train_on_all_pairs(
    module: type[Any],
    algo: AlgoConfig,
    world: World,
    steps: int,
    *others: Any,
    rows: list[Row] | None = None,
    model: Any = None,
) -> Any:
    """What `module` makes of a model, from full batches of the rows above.

    Args:
        others: what the module takes after the model.
        rows: instead of those without margins.
        model: what learns; the reference's copy if not given.
    """
    of_pair = preferences(world)

    class Weighted(module):  # type: ignore[misc]
        def loss_sum(self, batch: Batch) -> Any:
            chosen = torch.cat([of_pair[i] for i in batch.row_index.tolist()])
            return super().loss_sum(dataclasses.replace(batch, pair_weights=batch.pair_weights * 2 * chosen))

    model = model or new_policy()
    built = Weighted(TrainConfig(algo=algo), steps, model, *others)
    fit(built, StageData(rows or pair_rows(world), [], lambda step: [0, 1], 10**6))
    return model
