"""KTO ends at a fixed point of its own, not at the optimum of «reward − β·KL»: at which, and how far away.

Every outcome has both labels. How often it is called desirable, p, is how often it wins against another one, drawn
uniformly, under Bradley–Terry. With u = π/π_ref, z0 = 0 and a = λ_D·p − λ_U·(1 − p), the loss is −Σ a·u^β / (1 + u^β)
but for a constant. For β < 1 it is least where an outcome with a ≤ 0 has no probability, and the others share the rest
so that β·a·u^(β − 1) / (1 + u^β)² / π_ref is the same for all of them.
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
from lightning_modules.preference.reference import Reference
from rlhf.config import TrainConfig
from rlhf.config.algorithms.kto import KTOConfig
from rlhf.data.batch import microbatches
from rlhf.models.language import LanguageModel
from rlhf.objectives.preference.kto import KTOResult

BETA = 0.5
STEPS = 300
REACHED, MISSED = 0.02, 0.1


def wins(world: World) -> Tensor:
    """[prompts, outcomes]: how often an outcome is preferred to another one."""
    scores = world.shaped()
    found = torch.sigmoid(scores[:, :, None] - scores[:, None, :])
    return (found.sum(-1) - 0.5) / (len(OUTCOMES) - 1)


def of_kto(world: World, beta: float, desirable_weight: float = 1.0) -> Tensor:
    """The fixed point, [prompts, outcomes]; two bisections on a logarithmic scale."""
    won, reference = wins(world).double(), world.distribution(world.reference).double()
    drive = desirable_weight * won - (1 - won)

    def ratios(price: Tensor) -> Tensor:
        """u at which one more unit of probability is worth `price`: the worth falls with u."""
        low, high = torch.full_like(drive, 1e-12), torch.full_like(drive, 1e6)
        for _ in range(100):
            u = (low * high).sqrt()
            more = drive * beta * u ** (beta - 1) / (1 + u**beta).square() / reference > price
            low, high = torch.where(more, u, low), torch.where(more, high, u)
        return torch.where(drive > 0, low, 0.0)

    low, high = torch.full((len(won), 1), 1e-12).double(), torch.full((len(won), 1), 1e12).double()
    for _ in range(100):
        price = (low * high).sqrt()
        over = (ratios(price) * reference).sum(-1, keepdim=True) > 1
        low, high = torch.where(over, price, low), torch.where(over, high, price)
    return (ratios(high) * reference).float()


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


@pytest.mark.slow
def test_kto_reaches_its_own_fixed_point() -> None:
    world = make_world(BETA)
    point = of_kto(world, BETA)
    torch.testing.assert_close(point.sum(-1), torch.ones(2), rtol=1e-4, atol=1e-4)
    assert world.total_variation(world.reference, point) >= MISSED
    assert world.total_variation(train_kto(world), point) <= REACHED


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ["flipped", "inverted", "without_reference"])
def test_a_mutation_misses_it(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = KTOModule.losses

    def losses(self: KTOModule, ours: Tensor, theirs: Tensor, desirable: Tensor, kl: float) -> KTOResult:
        if mutation == "flipped":
            return right(self, ours, theirs, ~desirable, kl)
        if mutation == "inverted":  # log(π_ref/π) for log(π/π_ref)
            return right(self, 2 * theirs - ours, theirs, desirable, kl)
        return right(self, ours, torch.zeros_like(theirs), desirable, kl)  # the reference is left out

    monkeypatch.setattr(KTOModule, "losses", losses)
    world = make_world(BETA)
    assert world.total_variation(train_kto(world, steps=100), of_kto(world, BETA)) >= MISSED


DISTANCES: list[tuple[dict[str, Any], float]] = [
    ({}, 0.34),
    ({"beta": 0.1}, 0.33),
    ({"desirable_weight": 4 / 3}, 0.36),
    ({"loss": "apo_zero_unpaired"}, 0.34),
]
"""Printed in docs/methods.md."""


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "distance"), DISTANCES)
def test_the_distance_that_the_page_prints(algo: dict[str, Any], distance: float) -> None:
    world = make_world(BETA)
    measured = world.total_variation(train_kto(world, **algo))
    print(f"{algo}: total variation {measured:.3f}")
    assert measured == pytest.approx(distance, abs=0.02)
