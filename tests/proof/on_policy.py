"""Trains any on-policy algorithm in the world of `closed_form.py`."""

from __future__ import annotations

import argparse
from typing import Any

import torch
import yaml
from closed_form import EOS, LONGEST, PENALTY, PROMPTS, World, fit, make_world, new_critic, new_policy

from lightning_modules.data import StageData
from rlhf.config import OnPolicyConfig, ScoringConfig, TrainConfig, algorithms
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.rewards.sources import Rewards, Score
from rlhf.rollout.torch_sampler import TorchSampler
from verbs.train.build import module_class

BETA = 0.5
STEPS, EPISODES, LATE = 250, 320, 4
"""Enough for what is right to arrive. What is left at the end is the noise of sampling, so the last two fifths of the
steps have `LATE` times as many episodes."""

LEARNING = {
    "lr": 3e-3,
    "lr_schedule": "linear",
    "min_lr_ratio": 0.0,
    "epochs": 2,
    "minibatches": 2,
    "missing_eos_penalty": PENALTY,
}


def train_on_policy(
    world: World,
    algo: OnPolicyConfig,
    steps: int = STEPS,
    episodes: int = EPISODES,
    late: int = LATE,
    reward: Score | Rewards | None = None,
    scoring: ScoringConfig | None = None,
    **extra: Any,
) -> LanguageModel:
    """From the reference; returns the policy that training ends with.

    Args:
        reward: where scores come from, in place of the world's own.
        scoring: the section `reward`.
        extra: more arguments of the module's.
    """
    policy = new_policy(value_head=algo.value_model() == "shared")
    config = TrainConfig(algo=algo, reward=scoring or ScoringConfig())
    config.rollout.max_new_tokens, config.rollout.temperature = LONGEST, world.temperature
    config.train.tokens_per_microbatch = 10**6
    config.train.batch_size = episodes
    critic = {"none": {}, "shared": {"critic": None}, "separate": {"critic": new_critic()}}[algo.value_model()]
    module = module_class(algo)(
        config,
        steps,
        policy=policy,
        reference=world.reference,
        reward=reward or world.reward,
        sampler=TorchSampler(policy, EOS, max_rows=late * episodes),
        **(critic | extra),
    )
    rows = [Row(prompt, index=i, source=Prompt.of(str(prompt))) for i, prompt in enumerate(PROMPTS)]

    def order(step: int) -> list[int]:
        wanted = algo.rows_a_step(episodes * (late if step >= 0.6 * steps else 1))
        return [i % len(rows) for i in range(wanted)]

    fit(module, StageData(rows, [], order, 10**6, whole=True))
    return policy


def configured(name: str, **changes: Any) -> OnPolicyConfig:
    """An algorithm with the settings of the proof."""
    algo: Any = algorithms()[name]
    groups = {"samples_per_prompt": 8 if name == "grpo" else 4} if name != "ppo" else {}
    ppo = {"critic": "shared", "value_coef": 0.5, "clip_value": None} if name == "ppo" else {}
    found: OnPolicyConfig = algo(**LEARNING | {"kl_coef": BETA} | groups | ppo | changes)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints how far from the optimum a method ends.")
    parser.add_argument("name", help="the algorithm")
    parser.add_argument("keys", nargs="*", help="its keys, such as variant=dapo")
    given = parser.parse_args()
    values = {key: yaml.safe_load(value) for key, value in (pair.split("=") for pair in given.keys)}
    torch.set_num_threads(1)
    world = make_world(BETA)
    print(f"{world.total_variation(train_on_policy(world, configured(given.name, **values))):.3f}")
