"""The average of weights, and a reference that moves: numbers by hand, and what a validation sees."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_critic, new_policy
from torch import nn

from lightning_modules.data import StageData
from lightning_modules.ppo import PPOModule
from lightning_modules.updates.moving_weights import Average, MovingReference, average_share
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.rollout.torch_sampler import TorchSampler

Weights = dict[str, torch.Tensor]


def weights(model: nn.Module) -> Weights:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_k_updates_ago_count_the_kth_power_of_the_decay() -> None:
    """d = 1/2: after θ = 1, 2, 4 the average is (¼·1 + ½·2 + 1·4) / (¼ + ½ + 1) = 5.25 / 1.75 = 3."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 100.0)  # what training started from has no part
    average = Average(model, 0.5)
    found = []
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(model.weight, value)
        average.follow()
        found.append(average.mean["weight"].item())
    assert found == pytest.approx([1, 2.5 / 1.5, 3])
    assert [average_share(0.5, t) for t in (1, 2, 3)] == pytest.approx([1, 0.5 / 0.75, 0.5 / 0.875])
    assert average_share(0.999, 100_000) == pytest.approx(0.001)


def test_an_average_stands_in_and_is_adopted() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    average = Average(model, 0.9)
    start = weights(model)
    average.show(), average.put_back()
    assert equal(weights(model), start), "before the first update there is none"
    for _ in range(2):
        model.weight.data += 1
        average.follow()
    last, mean = weights(model), (0.9 * (start["weight"] + 1) + (start["weight"] + 2)) / 1.9
    assert average.mean.keys() == {"weight"}, "frozen weights have no average"
    average.show(), average.show()
    torch.testing.assert_close(model.weight.data, mean)
    average.put_back(), average.put_back()
    assert equal(weights(model), last)
    other = Average(nn.Linear(2, 2).requires_grad_(True), 0.9)
    with pytest.raises(KeyError):
        other.load(average.state())
    average.adopt()
    torch.testing.assert_close(model.weight.data, mean)


def test_a_reference_moves_by_name_and_keeps_what_it_was() -> None:
    """α = ¼: 0 → ¼·8 = 2 → ¼·8 + ¾·2 = 3.5; a head that only the policy has is passed over."""
    policy, model = (new_policy(value_head=True), new_policy())
    nn.init.constant_(policy.hf.lm_head.weight, 8.0), nn.init.constant_(model.hf.lm_head.weight, 0.0)
    reference = MovingReference(model, 0.25, keeps_first=True)
    reference.show(), reference.put_back()
    found = []
    for _ in range(2):
        reference.follow(policy)
        found.append(model.hf.lm_head.weight.flatten()[0].item())
    assert found == pytest.approx([2, 3.5])
    reference.show()
    assert (model.hf.lm_head.weight == 0).all()
    reference.put_back()
    assert model.hf.lm_head.weight.flatten()[0].item() == pytest.approx(3.5)
    assert not MovingReference(model, 0.25).first


def ppo(critic: str, steps: int = 4, warmup: int = 0) -> PPOModule:
    world = make_world()
    policy = new_policy(value_head=critic == "shared")
    algo = PPOConfig(
        critic=critic,
        lr=0.02,
        lr_schedule="constant",
        critic_warmup=warmup,
        epochs=2,
        ema_decay=0.5,
        reference_sync_steps=2,
        reference_mixup=0.5,
    )
    config = TrainConfig(algo=algo)
    config.train.tokens_per_microbatch, config.rollout.max_new_tokens = 64, LONGEST
    scorer = new_critic() if critic == "separate" else None
    return PPOModule(config, steps, policy, scorer, world.reference, world.reward, TorchSampler(policy, EOS))


def trained(module: PPOModule, until: int = 4) -> PPOModule:
    rows = [Row(prompt, index=i) for i, prompt in enumerate(PROMPTS)] * 4
    module.total_steps = until
    fit(module, StageData(rows, [], lambda step: list(range(8)), 64, whole=True))
    return module


def saved(module: PPOModule) -> Any:
    stream = io.BytesIO()
    torch.save(module.full_state(), stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_run_that_is_continued_has_the_same_average_and_reference(critic: str) -> None:
    whole = trained(ppo(critic))
    parts = ppo(critic)
    state = saved(trained(ppo(critic), 3))
    parts.on_fit_start = lambda: (PPOModule.on_fit_start(parts), parts.load_full_state(state))[0]  # type: ignore[method-assign]
    trained(parts)
    assert parts.step == whole.step == 4
    assert parts.average is not None and whole.average is not None
    assert parts.average.updates == whole.average.updates == 8, "an iteration has two updates"
    assert equal(weights(parts.policy), weights(whole.policy))
    assert equal(parts.average.mean, whole.average.mean)
    assert equal(weights(parts.scorers.reference), weights(whole.scorers.reference))
    assert parts.moving is not None and equal(parts.moving.first, weights(make_world().reference))
    assert not equal(weights(whole.scorers.reference), weights(make_world().reference))


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_weights_that_rest_while_a_critic_warms_up_are_no_part_of_the_average(critic: str) -> None:
    module = trained(ppo(critic, warmup=3))
    assert module.average is not None and module.average.updates == 2, "those of the last of four iterations"
    resting = trained(ppo(critic, warmup=4))
    assert resting.average is not None and resting.average.updates == 0
    last = weights(resting.policy)
    resting.take_average()
    assert equal(weights(resting.policy), last), "nothing is averaged so far"


def test_a_validation_sees_the_average_and_the_first_reference() -> None:
    module = trained(ppo("shared"))
    assert module.average is not None and module.moving is not None
    last, moved, mean = weights(module.policy), weights(module.scorers.reference), dict(module.average.mean)
    mean = {name: value.clone() for name, value in mean.items()}
    module.on_validation_start()
    assert equal(weights(module.policy), mean) and not equal(mean, last)
    assert equal(weights(module.scorers.reference), weights(make_world().reference))
    assert equal(module.full_state()["model"], {f"policy.{name}": value for name, value in last.items()})
    assert equal(weights(module.policy), last), "a checkpoint ends what a validation shows"
    module.on_validation_start(), module.on_validation_end()
    assert equal(weights(module.policy), last) and equal(weights(module.scorers.reference), moved)
    assert "objective/kl_current" in module.train_metrics and "objective/kl" not in module.train_metrics
    module.take_average()
    assert equal(weights(module.policy), mean)
