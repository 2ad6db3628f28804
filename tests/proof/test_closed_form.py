"""The lab's heart: PPO (both critics) and DPO reach the known optimum, and every listed mutation misses it.

The mutations are made in the code that the test runs, so a test that could not fail would be noticed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, OUTCOMES, PENALTY, PROMPTS, World, fit, make_world, new_critic, new_policy

import lightning_modules.ppo
from lightning_modules.data import StageData
from lightning_modules.dpo import DPOModule
from lightning_modules.ppo import PPOModule
from lightning_modules.preference.reference import Reference
from rlhf.config import DPOConfig, PPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.objectives import kl as kl_objectives
from rlhf.objectives import ppo as ppo_objectives
from rlhf.objectives.shaping import shaped_rewards
from rlhf.rollout.torch_sampler import TorchSampler

BETA = 0.5
REACHED, MISSED = 0.02, 0.1
STEPS, EPISODES, LATE, GROUP = 250, 320, 4, 16
"""Enough for what is right to arrive; what is wrong is far away long before. What is left at the end is the noise of
sampling, so the last two fifths of the steps have `LATE` times as many episodes. A prompt's samples are independent,
and `GROUP` of them share a row, which is faster."""


def train_ppo(
    world: World,
    critic: str = "shared",
    steps: int = STEPS,
    episodes: int = EPISODES,
    late: int = LATE,
    temperature: float = 1.0,
    **algo: Any,
) -> Any:
    """PPO from the reference; returns the policy that it ends with."""
    policy = new_policy(value_head=critic == "shared")
    config = TrainConfig(
        algo=PPOConfig(
            **{
                "lr": 3e-3,
                "lr_schedule": "linear",
                "min_lr_ratio": 0.0,
                "kl_coef": world.beta,
                "critic": critic,
                "epochs": 2,
                "minibatches": 2,
                "value_coef": 0.5,
                "clip_value": None,
                "missing_eos_penalty": PENALTY,
                "samples_per_prompt": GROUP,
            }
            | algo
        )
    )
    config.rollout.max_new_tokens, config.rollout.temperature = LONGEST, temperature
    config.train.tokens_per_microbatch = 10**6
    module = PPOModule(
        config,
        steps,
        policy,
        new_critic() if critic == "separate" else None,
        world.reference,
        world.reward,
        TorchSampler(policy, EOS, max_rows=late * episodes),
    )
    rows = [Row(prompt, index=i) for i, prompt in enumerate(PROMPTS)]

    def order(step: int) -> list[int]:
        return [i % len(rows) for i in range(episodes * (late if step >= 0.6 * steps else 1) // GROUP)]

    fit(module, StageData(rows, [], order, 10**6, whole=True))
    return policy


def test_the_task_starts_far_from_its_optimum() -> None:
    world = make_world(BETA)
    assert len(OUTCOMES) == 40
    torch.testing.assert_close(world.distribution(world.reference).sum(-1), torch.ones(2))
    assert world.total_variation(world.reference) >= 0.4


@pytest.mark.ci
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_ppo_reaches_the_optimum(critic: str) -> None:
    world = make_world(BETA)
    assert world.total_variation(train_ppo(world, critic)) <= REACHED


@pytest.mark.slow
def test_ppo_reaches_the_optimum_at_another_temperature() -> None:
    """Sampling, log-probabilities and the optimum all at temperature 0.7: what is learned is the sampled policy."""
    world = make_world(BETA, temperature=0.7)
    assert world.total_variation(train_ppo(world, temperature=0.7)) <= REACHED


def test_dpo_reaches_the_optimum() -> None:
    """All ordered pairs of outcomes, weighted by the probability with which Bradley–Terry would prefer the first."""
    world = make_world(BETA)
    pairs = tuple((i, j) for i in range(len(OUTCOMES)) for j in range(len(OUTCOMES)) if i != j)
    shaped = world.shaped()
    weights = torch.stack([torch.sigmoid(s[:, None] - s[None, :]) for s in shaped])
    of_pair = torch.stack([w[[i for i, _ in pairs], [j for _, j in pairs]] for w in weights])

    class Weighted(DPOModule):
        def loss_sum(self, batch: Batch) -> Any:
            chosen = torch.cat([of_pair[i] for i in batch.row_index.tolist()])
            return super().loss_sum(dataclasses.replace(batch, pair_weights=batch.pair_weights * 2 * chosen))

    rows = [dataclasses.replace(row, pairs=pairs) for row in world.rows]
    config = TrainConfig(algo=DPOConfig(lr=1e-2, beta=BETA, lr_schedule="cosine", min_lr_ratio=0.0, max_grad_norm=10.0))
    policy = new_policy()
    module = Weighted(config, 300, policy, Reference({"train": rows}))
    fit(module, StageData(rows, [], lambda step: [0, 1], 10**6))
    assert world.total_variation(policy) <= REACHED


MANY_UPDATES = {"epochs": 8, "minibatches": 4, "steps": 60}
"""Clipping matters once a rollout is used for many updates."""


@pytest.mark.slow
def test_the_right_clip_is_safe_with_many_updates() -> None:
    """The control of `clips_the_wrong_side`: same settings, right code, and so short a run that it only comes near."""
    world = make_world(BETA)
    assert world.total_variation(train_ppo(world, episodes=256, late=1, **MANY_UPDATES)) <= 0.06


def wrong_sign(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The KL penalty becomes a KL bonus."""
    right = shaped_rewards
    monkeypatch.setattr(
        lightning_modules.ppo, "shaped_rewards", lambda s, lp, ref, mask, coef: right(s, lp, ref, mask, -coef)
    )
    return {}


def k3_in_the_reward(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The unbiased, positive estimator in the reward: unbiased as a number, wrong as a reward."""

    def mutated(scores: Any, logprobs: Any, reference: Any, mask: Any, coef: float) -> Any:
        penalty = -coef * kl_objectives.k3(logprobs, reference) * mask
        last = mask.sum(-1) - 1
        return penalty.scatter_add(1, last[:, None], scores[:, None])

    monkeypatch.setattr(lightning_modules.ppo, "shaped_rewards", mutated)
    return {}


def discounted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """γ = 0.95: later tokens' rewards count less."""
    return {"gamma": 0.95}


def shifted_mask(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The mask begins and ends one token late, so that first tokens get no reward and no advantage."""
    right = ppo_objectives.gae

    def mutated(rewards: Any, values: Any, mask: Any, gamma: float, lam: float) -> Any:
        late = mask.clone()
        late[:, 0] = False
        return right(rewards, values, late, gamma, lam)

    monkeypatch.setattr(lightning_modules.ppo, "gae", mutated)
    return {}


def wrong_temperature(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Sampled at temperature 0.5, log-probabilities taken at 1."""
    right = PPOModule.sampling
    monkeypatch.setattr(PPOModule, "sampling", lambda self: dataclasses.replace(right(self), temperature=0.5))
    return {}


def gae_off_by_one(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every token is credited with the advantage of the one after it."""
    right = ppo_objectives.gae

    def mutated(rewards: Any, values: Any, mask: Any, gamma: float, lam: float) -> Any:
        advantages, returns = right(rewards, values, mask, gamma, lam)
        return torch.cat([advantages[:, 1:], torch.zeros_like(advantages[:, :1])], dim=1), returns

    monkeypatch.setattr(lightning_modules.ppo, "gae", mutated)
    return {}


def clips_the_wrong_side(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """min in place of max: the loss is clipped where it should not be, and unbounded where it should."""
    right = ppo_objectives.policy_loss

    def mutated(logprobs: Any, old: Any, advantages: Any, epsilon: float, *others: Any) -> Any:
        result = right(logprobs, old, advantages, epsilon, *others)
        ratio = torch.exp(logprobs - old)
        losses = torch.minimum(-advantages * ratio, -advantages * ratio.clamp(1 - epsilon, 1 + epsilon))
        return result._replace(losses=losses)

    monkeypatch.setattr(lightning_modules.ppo, "policy_loss", mutated)
    return MANY_UPDATES


MUTATIONS: list[Callable[[pytest.MonkeyPatch], dict[str, Any]]] = [
    wrong_sign,
    k3_in_the_reward,
    discounted,
    shifted_mask,
    wrong_temperature,
    gae_off_by_one,
    clips_the_wrong_side,
]


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(mutate, marks=[pytest.mark.ci] if number else [], id=mutate.__name__)
        for number, mutate in enumerate(MUTATIONS)
    ],
)
def test_a_mutation_misses_the_optimum(
    mutate: Callable[[pytest.MonkeyPatch], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(BETA)
    changes = mutate(monkeypatch)
    assert world.total_variation(train_ppo(world, **({"steps": 100, "episodes": 256, "late": 1} | changes))) >= MISSED
