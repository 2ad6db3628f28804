"""Trains any on-policy algorithm in the world of `closed_form.py`."""

from __future__ import annotations

from typing import Any

from closed_form import EOS, LONGEST, PENALTY, PROMPTS, World, fit, new_policy

from lightning_modules.data import StageData
from rlhf.config import OnPolicyConfig, ScoringConfig, TrainConfig
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.rewards.sources import Rewards, Score
from rlhf.rollout.torch_sampler import TorchSampler
from verbs.train.build import module_class

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
    module = module_class(algo)(
        config,
        steps,
        policy=policy,
        reference=world.reference,
        reward=reward or world.reward,
        sampler=TorchSampler(policy, EOS, max_rows=late * episodes),
        **extra,
    )
    rows = [Row(prompt, index=i, source=Prompt.of(str(prompt))) for i, prompt in enumerate(PROMPTS)]

    def order(step: int) -> list[int]:
        wanted = algo.rows_a_step(episodes * (late if step >= 0.6 * steps else 1))
        return [i % len(rows) for i in range(wanted)]

    fit(module, StageData(rows, [], order, 10**6, whole=True))
    return policy
