"""Policy gradients without a critic reach the known optimum where they are unbiased, and mutations of them miss it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from closed_form import make_world
from on_policy import LEARNING, train_on_policy

import lightning_modules.critic_free
import lightning_modules.rloo
from rlhf.config.algorithms.grpo import GRPOConfig
from rlhf.config.algorithms.rloo import RLOOConfig
from rlhf.objectives import kl
from rlhf.objectives.groups import leave_one_out

BETA = 0.5
REACHED, MISSED = 0.02, 0.1
SHORT = {"steps": 100, "episodes": 256, "late": 1}
Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.slow


def rloo(**changes: Any) -> RLOOConfig:
    return RLOOConfig(**LEARNING | {"kl_coef": BETA} | changes)


def grpo(**changes: Any) -> GRPOConfig:
    return GRPOConfig(**LEARNING | {"kl_coef": BETA} | changes)


def test_rloo_reaches_the_optimum() -> None:
    world = make_world(BETA)
    assert world.total_variation(train_on_policy(world, rloo())) <= REACHED


def test_rloo_comes_near_in_a_short_run() -> None:
    """The control of the mutations: same settings, right code."""
    world = make_world(BETA)
    assert world.total_variation(train_on_policy(world, rloo(), **SHORT)) <= 0.06


def test_grpo_reaches_the_optimum_with_the_kl_in_the_reward() -> None:
    """There every response's advantage is 0, whatever it is divided by: its biases vanish at the optimum."""
    world = make_world(BETA)
    assert world.total_variation(train_on_policy(world, grpo(kl_in="reward"))) <= REACHED


def test_grpo_as_published_ends_elsewhere() -> None:
    """Advantages in standard deviations against a KL in nats, and no credit for the KL of later tokens; see
    docs/methods.md."""
    world = make_world(BETA)
    assert 0.15 <= world.total_variation(train_on_policy(world, grpo())) <= 0.27


def wrong_sign(patch: Patch) -> RLOOConfig:
    """The KL penalty becomes a bonus."""
    patch.setattr(lightning_modules.critic_free, "k1", lambda a, b: kl.k1(b, a))
    return rloo()


def k3_in_the_reward(patch: Patch) -> RLOOConfig:
    """Unbiased as a number, wrong as a reward."""
    patch.setattr(lightning_modules.critic_free, "k1", kl.k3)
    return rloo()


def advantages_of_a_neighbour(patch: Patch) -> RLOOConfig:
    """Each sample gets the advantage of the one after it."""
    patch.setattr(lightning_modules.rloo, "leave_one_out", lambda r: leave_one_out(r).roll(1, -1))
    return rloo()


def last_token_without_kl(patch: Patch) -> RLOOConfig:
    """The KL of each response's last token is left out."""

    def shorter(mask: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        return torch.where(following if x.is_floating_point() and x.shape == mask.shape else mask, x, 0.0)

    right = lightning_modules.critic_free.CriticFreeModule.response_rewards

    def mutated(self: Any, episodes: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(lightning_modules.critic_free, "keep", shorter)
            return right(self, episodes)

    patch.setattr(lightning_modules.critic_free.CriticFreeModule, "response_rewards", mutated)
    return rloo()


MUTATIONS: list[Callable[[Patch], RLOOConfig]] = [
    wrong_sign,
    k3_in_the_reward,
    advantages_of_a_neighbour,
    last_token_without_kl,
]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_mutation_misses_the_optimum(mutate: Callable[[Patch], RLOOConfig], monkeypatch: Patch) -> None:
    world = make_world(BETA)
    algo = mutate(monkeypatch)
    assert world.total_variation(train_on_policy(world, algo, **SHORT)) >= MISSED
