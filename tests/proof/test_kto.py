"""KTO ends at a fixed point of its own: how far from the optimum of «reward − β·KL», and that z0 matters to it.

Every outcome has both labels. How often it is called desirable is how often it wins against another one, drawn
uniformly, under Bradley–Terry.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_form import OUTCOMES, World, fit, make_world, new_policy
from torch import Tensor

from lightning_modules.data import StageData
from lightning_modules.kto import KTOModule
from lightning_modules.reference import Reference
from rlhf.config import TrainConfig
from rlhf.config.algorithms.kto import KTOConfig
from rlhf.data.batch import microbatches
from rlhf.models.language import LanguageModel
from rlhf.objectives.kto import KTOResult

BETA = 0.5
STEPS = 300


def wins(world: World) -> Tensor:
    """[prompts, outcomes]: how often an outcome is preferred to another one."""
    scores = world.shaped()
    found = torch.sigmoid(scores[:, :, None] - scores[:, None, :])
    return (found.sum(-1) - 0.5) / (len(OUTCOMES) - 1)


def train_kto(world: World, steps: int = STEPS, **algo: Any) -> LanguageModel:
    """Both labels of each outcome, each with its probability as weight."""
    won = wins(world)
    both = torch.stack([torch.cat([row, 1 - row]) for row in won])
    labels = (True,) * len(OUTCOMES) + (False,) * len(OUTCOMES)
    rows = [replace(row, responses=row.responses * 2, labels=labels) for row in world.rows]
    weights = torch.cat([both[row.index] for row in microbatches(rows, 10**6)[0]])

    class Weighted(KTOModule):
        def losses(self, ours: Tensor, theirs: Tensor, desirable: Tensor, kl: float) -> KTOResult:
            result = super().losses(ours, theirs, desirable, kl)
            return result._replace(losses=2 * result.losses * weights)

    config = TrainConfig(
        algo=KTOConfig(
            **({"lr": 1e-2, "beta": BETA, "lr_schedule": "cosine", "min_lr_ratio": 0.0, "max_grad_norm": 10.0} | algo)
        )
    )
    policy = new_policy()
    module = Weighted(config, steps, policy, Reference({"train": rows}))
    fit(module, StageData(rows, [], lambda step: [0, 1], 10**6))
    return policy


DISTANCES: list[tuple[dict[str, Any], float]] = [
    ({}, 0.75),
    ({"beta": 0.1}, 0.75),
    ({"desirable_weight": 4 / 3}, 0.71),
    ({"loss": "apo_zero_unpaired"}, 0.75),
]
"""Printed in docs/methods.md."""


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "distance"), DISTANCES)
def test_the_distance_that_the_page_prints(algo: dict[str, Any], distance: float) -> None:
    world = make_world(BETA)
    measured = world.total_variation(train_kto(world, **algo))
    print(f"{algo}: total variation {measured:.3f}")
    assert measured == pytest.approx(distance, abs=0.02)
