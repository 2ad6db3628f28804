"""Methods without a reference end at a fixed point of their own, not at the optimum of «reward − β·KL»: by how much.

Without its cross-entropy CPO is DPO against a uniform reference, so that π ∝ exp(r/β). With γ = 0 SimPO's reward per
token is r up to a constant of the prompt: π = exp(|y|·(r + c)/β), where c makes it sum to 1.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from all_pairs import train_on_all_pairs
from closed_form import OUTCOMES, World, make_world
from torch import Tensor

from lightning_modules.cpo import CPOModule
from lightning_modules.orpo import ORPOModule
from lightning_modules.simpo import SimPOModule
from rlhf.config import AlgoConfig
from rlhf.config.algorithms.cpo import CPOConfig
from rlhf.config.algorithms.orpo import ORPOConfig
from rlhf.config.algorithms.simpo import SimPOConfig

BETA = 0.5
REACHED, MISSED = 0.02, 0.1
STEPS = 300
LONG: dict[str, Any] = {"lr": 1e-2, "lr_schedule": "cosine", "min_lr_ratio": 0.0, "max_grad_norm": 10.0}


def of_cpo(world: World, beta: float) -> Tensor:
    return (world.shaped() / beta).softmax(-1)


def of_simpo(world: World, beta: float) -> Tensor:
    lengths = torch.tensor([float(len(outcome)) for outcome in OUTCOMES])
    rewards = world.shaped().double()
    low, high = (torch.full((len(rewards), 1), end, dtype=torch.float64) for end in (-50.0, 50.0))
    for _ in range(100):  # the sum grows with c
        middle = (low + high) / 2
        over = (lengths * (rewards + middle) / beta).exp().sum(-1, keepdim=True) > 1
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (lengths * (rewards + low) / beta).exp().float()


def test_simpo_without_a_margin_reaches_its_own_fixed_point() -> None:
    world = make_world(BETA)
    point = of_simpo(world, 2.0)
    torch.testing.assert_close(point.sum(-1), torch.ones(2))
    policy = train_on_all_pairs(SimPOModule, SimPOConfig(beta=2.0, target_margin=0.0, **LONG), world, 220)
    assert world.total_variation(policy, point) <= REACHED
    assert world.total_variation(policy) >= MISSED


@pytest.mark.slow
def test_cpo_without_cross_entropy_reaches_its_own_fixed_point() -> None:
    world = make_world(BETA)
    policy = train_on_all_pairs(CPOModule, CPOConfig(beta=BETA, sft_coef=0.0, **LONG), world, STEPS)
    assert world.total_variation(policy, of_cpo(world, BETA)) <= REACHED
    assert world.total_variation(policy) >= MISSED


DISTANCES: list[tuple[type[Any], AlgoConfig, float]] = [
    (SimPOModule, SimPOConfig(**LONG), 0.22),
    (SimPOModule, SimPOConfig(target_margin=0.0, **LONG), 0.29),
    (SimPOModule, SimPOConfig(beta=2.5, target_margin=0.3, **LONG), 0.32),
    (CPOModule, CPOConfig(**LONG), 0.51),
    (CPOModule, CPOConfig(beta=BETA, **LONG), 0.46),
    (CPOModule, CPOConfig(beta=BETA, sft_coef=0.0, **LONG), 0.31),
    (ORPOModule, ORPOConfig(**LONG), 0.52),
    (ORPOModule, ORPOConfig(odds_coef=1.0, **LONG), 0.46),
    (ORPOModule, ORPOConfig(odds_coef=5.0, **LONG), 0.37),
]
"""Printed in docs/methods.md."""


@pytest.mark.slow
@pytest.mark.parametrize(("module", "algo", "distance"), DISTANCES)
def test_the_distance_that_the_page_prints(module: type[Any], algo: AlgoConfig, distance: float) -> None:
    world = make_world(BETA)
    measured = world.total_variation(train_on_all_pairs(module, algo, world, STEPS))
    print(f"{algo}: total variation {measured:.3f}")
    assert measured == pytest.approx(distance, abs=0.02)
