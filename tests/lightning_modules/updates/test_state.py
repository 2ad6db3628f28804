"""What a checkpoint holds, and that all of it comes back."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_critic, new_policy

from lightning_modules.data import StageData
from lightning_modules.ppo import PPOModule
from lightning_modules.updates.state import aliases
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.errors import TrainingError
from rlhf.rollout.torch_sampler import TorchSampler


def ppo(steps: int, critic: str = "separate") -> PPOModule:
    world = make_world()
    policy = new_policy(value_head=critic == "shared")
    config = TrainConfig(algo=PPOConfig(critic=critic, lr=0.01, kl_controller="adaptive", kl_horizon=100))
    config.train.tokens_per_microbatch, config.rollout.max_new_tokens = 64, LONGEST
    scorer = new_critic() if critic == "separate" else None
    return PPOModule(config, steps, policy, scorer, world.reference, world.reward, TorchSampler(policy, EOS))


def trained(module: PPOModule) -> PPOModule:
    rows = [Row(prompt, index=i) for i, prompt in enumerate(PROMPTS)] * 4
    fit(module, StageData(rows, [], lambda step: list(range(8)), 64, whole=True))
    return module


def saved(module: PPOModule) -> dict[str, Any]:
    """Through a file, as plain data."""
    stream = io.BytesIO()
    torch.save(module.full_state(), stream)
    stream.seek(0)
    state: dict[str, Any] = torch.load(stream, weights_only=True)
    return state


def test_all_of_it_comes_back() -> None:
    first = trained(ppo(2))
    first.bad_steps.skipped, first.best = 3, (2, 0.5)
    torch.manual_seed(7), np.random.seed(8), random.seed(9)
    state = saved(first)
    drawn = torch.rand(3), np.random.rand(3), random.random()

    second = trained(ppo(1))
    second.load_full_state(state)
    assert (second.step, second.trained_tokens, second.kl.value) == (first.step, first.trained_tokens, first.kl.value)
    assert (second.bad_steps.skipped, second.best) == (3, (2, 0.5))
    assert second.train_metrics == first.train_metrics
    for (name, ours), (_, theirs) in zip(second.named_parameters(), first.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    ours, theirs = (module.trainer.strategy.optimizers[0].state_dict() for module in (second, first))
    assert ours["param_groups"] == theirs["param_groups"]
    for number, found in theirs["state"].items():
        assert found.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(ours["state"][number][key], value) for key, value in found.items())
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(again[0], drawn[0]) and (again[1] == drawn[1]).all() and again[2] == drawn[2]


def test_state_goes_by_name_and_tied_weights_once() -> None:
    module = trained(ppo(1))
    state = module.full_state()
    assert aliases(module) == {"policy.hf.lm_head.weight": "policy.hf.transformer.wte.weight"}
    assert state["model"].keys() == dict(module.named_parameters()).keys()
    assert state["optimizer"]["state"].keys() == state["model"].keys()
    assert {name.split(".")[0] for name in state["model"]} == {"policy", "critic"}, "frozen models are not in it"


def test_a_checkpoint_of_another_model_is_refused() -> None:
    state = saved(trained(ppo(1)))
    with pytest.raises(TrainingError, match=r"another model: critic\."):
        trained(ppo(1, "shared")).load_full_state(state)
    with pytest.raises(TrainingError, match="format 0"):
        trained(ppo(1)).load_full_state(state | {"format": 0})
