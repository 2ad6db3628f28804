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
from rlhf.models.language import LanguageModel

PAIRS = tuple((i, j) for i in range(len(OUTCOMES)) for j in range(len(OUTCOMES)) if i != j)


def preferences(world: World) -> Tensor:
    """[prompts, pairs]: how often the first outcome is preferred."""
    scores = world.shaped()
    first, second = zip(*PAIRS, strict=True)
    return torch.sigmoid(scores[:, list(first)] - scores[:, list(second)])


def pair_rows(world: World) -> list[Row]:
    return [dataclasses.replace(row, pairs=PAIRS) for row in world.rows]


def train_on_all_pairs(module: type[Any], algo: AlgoConfig, world: World, steps: int, *others: Any) -> LanguageModel:
    """What `module` makes of the reference, from full batches of the rows above.

    Args:
        others: what the module takes after the policy.
    """
    of_pair = preferences(world)

    class Weighted(module):  # type: ignore[misc]
        def loss_sum(self, batch: Batch) -> Any:
            chosen = torch.cat([of_pair[i] for i in batch.row_index.tolist()])
            return super().loss_sum(dataclasses.replace(batch, pair_weights=batch.pair_weights * 2 * chosen))

    policy = new_policy()
    built = Weighted(TrainConfig(algo=algo), steps, policy, *others)
    fit(built, StageData(pair_rows(world), [], lambda step: [0, 1], 10**6))
    return policy
