"""The losses of `algo=dpo`: those with a known fixed point reach it, the others end at a distance that is measured.

They learn from all ordered pairs of outcomes, weighted by the probability with which Bradley–Terry prefers the first.
IPO's fixed point is then the solution of least squares; an f-divergence's is the optimum of E[r] − β·D_f, in which
f′(π/π_ref) = r/β + λ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from all_pairs import pair_rows, preferences
from closed_form import OUTCOMES, World, fit, make_world, new_policy
from own_optimum import minimiser
from torch import Tensor

import lightning_modules.dpo
from lightning_modules.data import StageData
from lightning_modules.dpo import DPOModule
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.whole_batch import numbers
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.objectives.preference import pair_losses

BETA = 0.5
REACHED, MISSED = 0.02, 0.1
STEPS = 300
LENGTHS = torch.tensor([float(len(outcome)) for outcome in OUTCOMES])


def train(world: World, steps: int = STEPS, flipped: float = 0.0, **algo: Any) -> LanguageModel:
    """DPO on all pairs.

    Args:
        flipped: share of the labels that are turned round.
    """
    preferred = (1 - 2 * flipped) * preferences(world) + flipped

    def weighted(batch: Batch) -> Batch:
        chosen = torch.cat([preferred[i] for i in batch.row_index.tolist()])
        return dataclasses.replace(batch, pair_weights=batch.pair_weights * 2 * chosen)

    class Weighted(DPOModule):
        def loss_sum(self, batch: Batch) -> Any:
            return super().loss_sum(weighted(batch))

    rows = pair_rows(world)
    settings = {
        "lr": 1e-2,
        "beta": world.beta,
        "lr_schedule": "cosine",
        "min_lr_ratio": 0.0,
        "max_grad_norm": 10.0,
    } | algo
    config = TrainConfig(algo=DPOConfig(**settings))
    policy = new_policy()
    live = None if config.algo.stores_reference() else new_policy().eval().requires_grad_(False)
    module = Weighted(config, steps, policy, Reference({"train": rows}, per_token="ld_alpha" in algo), live)
    with pytest.MonkeyPatch.context() as patch:
        # What sorts is told the weights too.
        patch.setattr(lightning_modules.dpo, "numbers", lambda sides, batch: numbers(sides, weighted(batch)))
        fit(module, StageData(rows, [], lambda step: [0, 1], 10**6))
    return policy


def solved(probabilities: Callable[[Tensor], Tensor], low: float, high: float) -> Tensor:
    """Distributions [prompts, outcomes] at the constant of each prompt at which they sum to 1; sums grow with it."""
    ends = [torch.full((2, 1), end, dtype=torch.float64) for end in (low, high)]
    for _ in range(200):
        middle = (ends[0] + ends[1]) / 2
        over = probabilities(middle).sum(-1, keepdim=True) > 1
        ends = [torch.where(over, ends[0], middle), torch.where(over, middle, ends[1])]
    return probabilities(ends[0]).float()


def of_ipo(world: World) -> Tensor:
    """Log-ratio per token = mean over j of (2·p_ij − 1)/(2β) + a constant of the prompt."""
    scores = world.shaped().double()
    wins = 2 * torch.sigmoid(scores[:, :, None] - scores[:, None, :]) - 1
    rewards = wins.mean(-1) / (2 * BETA)
    reference = world.distribution(world.reference).double()
    return solved(lambda c: reference * (LENGTHS * (rewards + c)).exp(), -50, 50)


INVERSE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "forward_kl": lambda s, alpha: 1 / (1 - s),
    "js": lambda s, alpha: s.exp() / (2 - s.exp()),
    "alpha": lambda s, alpha: (1 - alpha * s) ** (-1 / alpha),
}


def of_divergence(world: World, divergence: str, alpha: float = 0.5) -> Tensor:
    rewards = world.shaped().double() / world.beta
    rewards = rewards - rewards.max(-1, keepdim=True).values
    reference = world.distribution(world.reference).double()
    inverse = INVERSE[divergence]
    largest = {"forward_kl": 1.0, "js": math.log(2), "alpha": 1 / alpha}[divergence]  # f′(t) stays below
    return solved(lambda c: reference * inverse(rewards + c, alpha), -60, largest - 1e-12)


def test_the_fixed_points_are_distributions_far_from_each_other() -> None:
    world = make_world(BETA)
    points = [world.optimum(), of_ipo(world), *(of_divergence(world, name) for name in INVERSE)]
    for point in points:
        torch.testing.assert_close(point.sum(-1), torch.ones(2))
    # Towards α = 0 the α-divergence is the reverse KL.
    near = of_divergence(world, "alpha", 1e-4)
    assert 0.5 * (near - world.optimum()).abs().sum(-1).max() < 1e-3
    assert min(world.total_variation(world.reference, point) for point in points) > MISSED


def test_ipo_reaches_its_own_fixed_point() -> None:
    world = make_world(BETA)
    assert world.total_variation(train(world, 250, loss="ipo"), of_ipo(world)) <= REACHED


@pytest.mark.slow
@pytest.mark.parametrize(("divergence", "beta"), [("forward_kl", 2.0), ("js", 4.0), ("alpha", 2.0)])
def test_a_divergence_reaches_its_own_optimum(divergence: str, beta: float) -> None:
    """With rewards that β makes small: f′ is bounded above, and near its bound training is slow."""
    world = make_world(beta)
    assert world.total_variation(world.reference, of_divergence(world, divergence)) >= MISSED
    policy = train(world, divergence=divergence)
    assert world.total_variation(policy, of_divergence(world, divergence)) <= REACHED


@pytest.mark.slow
def test_robust_reaches_the_optimum_through_flipped_labels() -> None:
    world = make_world(BETA)
    assert world.total_variation(train(world, flipped=0.2, loss="robust", label_smoothing=0.2)) <= REACHED
    assert world.total_variation(train(world, flipped=0.2)) >= MISSED


def ipo_without_lengths(patch: pytest.MonkeyPatch, world: World) -> tuple[dict[str, Any], Tensor]:
    right = pair_losses.squared
    patch.setattr(pair_losses, "squared", lambda difference, beta: right(difference * 3, beta))
    return {"loss": "ipo"}, of_ipo(world)


def ipo_with_twice_the_target(patch: pytest.MonkeyPatch, world: World) -> tuple[dict[str, Any], Tensor]:
    right = pair_losses.squared
    patch.setattr(pair_losses, "squared", lambda difference, beta: right(difference, beta / 2))
    return {"loss": "ipo"}, of_ipo(world)


def ipo_of_the_other_response(patch: pytest.MonkeyPatch, world: World) -> tuple[dict[str, Any], Tensor]:
    right = pair_losses.squared
    patch.setattr(pair_losses, "squared", lambda difference, beta: right(-difference, beta))
    return {"loss": "ipo"}, of_ipo(world)


def alpha_the_wrong_way_round(patch: pytest.MonkeyPatch, world: World) -> tuple[dict[str, Any], Tensor]:
    """Reverse KL where forward KL was asked for."""
    return {"divergence": "reverse_kl"}, of_divergence(world, "forward_kl")


def robust_as_cdpo(patch: pytest.MonkeyPatch, world: World) -> tuple[dict[str, Any], Tensor]:
    patch.setattr(pair_losses, "robust", pair_losses.logistic)
    return {"loss": "robust", "label_smoothing": 0.2, "flipped": 0.2}, world.optimum()


MUTATIONS = [
    ipo_without_lengths,
    ipo_with_twice_the_target,
    ipo_of_the_other_response,
    alpha_the_wrong_way_round,
    robust_as_cdpo,
]


@pytest.mark.slow
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_mutation_misses_the_fixed_point(mutate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(BETA)
    algo, point = mutate(monkeypatch, world)
    assert world.total_variation(train(world, 200, **algo), point) >= MISSED


DISTANCES: list[tuple[dict[str, Any], float]] = [
    ({"loss": "sigmoid"}, 0.00),
    ({"loss": "sigmoid", "label_smoothing": 0.1}, 0.23),
    ({"loss": "sigmoid", "divergence": "forward_kl"}, 0.42),
    ({"loss": "sigmoid", "divergence": "js"}, 0.60),
    ({"loss": "sigmoid", "divergence": "alpha"}, 0.38),
    ({"loss": "hinge"}, 0.19),
    ({"loss": "ipo"}, 0.35),
    ({"loss": "exo_pair", "label_smoothing": 1e-3}, 0.61),
    ({"loss": "nca_pair"}, 0.45),
    ({"loss": "bco_pair", "bco_shift": "none"}, 0.32),
    ({"loss": "sppo_hard"}, 0.51),
    ({"loss": "aot"}, 0.33),
    ({"loss": "aot_unpaired"}, 0.94),
    ({"loss": "apo_zero"}, 0.34),
    ({"loss": "apo_down"}, 0.96),
    ({"loss": "discopop"}, 0.64),
    ({"loss": "sigmoid_norm"}, 0.59),
    ({"loss": ["sigmoid", "sft"]}, 0.44),
    ({"loss": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, 0.45),
]
"""Of a loss's own optimum from that of E[r] − β·KL; printed in docs/methods.md."""


@pytest.mark.parametrize(("algo", "distance"), DISTANCES, ids=str)
def test_the_distance_that_the_page_prints(algo: dict[str, Any], distance: float) -> None:
    world = make_world(BETA)
    found = minimiser(world, DPOConfig(beta=BETA, **algo))
    assert float(0.5 * (found - world.optimum()).abs().sum(-1).max()) == pytest.approx(distance, abs=0.01)


def test_the_table_finds_the_fixed_points_that_are_known() -> None:
    world = make_world(BETA)
    known = [
        (world.optimum(), DPOConfig(beta=BETA), 0.0),
        (of_ipo(world), DPOConfig(beta=BETA, loss="ipo"), 0.0),
        (world.optimum(), DPOConfig(beta=BETA, loss="robust", label_smoothing=0.2), 0.2),
        *((of_divergence(world, name), DPOConfig(beta=BETA, divergence=name), 0.0) for name in INVERSE),
    ]
    for point, algo, flipped in known:
        torch.testing.assert_close(minimiser(world, algo, flipped), point, atol=2e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["nca_pair", "bco_pair", "sppo_hard"])
def test_training_reaches_the_optimum_of_its_loss(loss: str) -> None:
    world = make_world(BETA)
    point = minimiser(world, DPOConfig(beta=BETA, loss=loss))
    assert world.total_variation(train(world, loss=loss, bco_shift="none"), point) <= REACHED


NEAR: list[tuple[dict[str, Any], float]] = [
    ({"loss": "hinge"}, 0.03),
    ({"loss": "sigmoid_norm"}, 0.04),
    ({"loss": "aot"}, 0.09),
    ({"loss": "exo_pair", "label_smoothing": 0.01}, 0.09),
]
"""How far from the optimum of the loss itself 300 updates end, where training is slow; printed in docs/methods.md."""


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "distance"), NEAR, ids=str)
def test_training_comes_near_the_optimum_of_its_loss(algo: dict[str, Any], distance: float) -> None:
    world = make_world(BETA)
    measured = world.total_variation(train(world, **algo), minimiser(world, DPOConfig(beta=BETA, **algo)))
    print(f"{algo}: total variation {measured:.3f}")
    assert measured == pytest.approx(distance, abs=0.02)


TRAINED: list[tuple[dict[str, Any], float]] = [
    ({"loss": "sigmoid", "ld_alpha": 0.5}, 0.08),
    ({"loss": "sigmoid", "weighting": "wpo"}, 0.01),
    ({"loss": "sigmoid", "reference_sync_steps": 100}, 0.58),
    ({"loss": "bco_pair"}, 0.21),
]
"""Distances of what has no optimum that a table would know, after 300 updates; printed in docs/methods.md."""


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "distance"), TRAINED, ids=str)
def test_the_distance_of_a_trained_policy(algo: dict[str, Any], distance: float) -> None:
    world = make_world(BETA)
    measured = world.total_variation(train(world, **algo))
    print(f"{algo}: total variation {measured:.3f}")
    assert measured == pytest.approx(distance, abs=0.02)
