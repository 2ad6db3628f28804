"""The update does not depend on how its batch is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_form import EOS, LONGEST, PROMPTS, fit, make_world, new_critic, new_policy

from lightning_modules.data import StageData
from lightning_modules.dpo import DPOModule
from lightning_modules.ppo import PPOModule
from lightning_modules.preference.reference import Reference
from lightning_modules.reward import RewardModule
from lightning_modules.sft import SFTModule
from lightning_modules.updates.micro_batches import cut
from rlhf.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.errors import DataError, TrainingError
from rlhf.rollout.torch_sampler import TorchSampler

DEMONSTRATIONS = [
    Row((1, 2), ((3, 1, 0),), index=0),
    Row((3,), ((2, 0),), index=1),
    Row((2, 2, 1, 1), ((0,),), index=2),
]
RANKINGS = [
    Row((1, 2), ((3, 1, 0), (2, 0), (1, 1, 0)), pairs=((0, 1), (0, 2), (1, 2)), index=0),
    Row((3,), ((2, 0), (1, 1, 1, 0)), pairs=((1, 0),), index=1),
    Row((2, 2, 1), ((0,), (3, 0)), pairs=((0, 1),), index=2),
]


def configured(algo: Any, budget: int) -> TrainConfig:
    config = TrainConfig(algo=algo)
    config.train.tokens_per_microbatch = budget
    return config


def one_update(stage: str, budget: int) -> dict[str, torch.Tensor]:
    """Gradients of a stage's first update, with micro-batches of at most `budget` tokens."""
    rows: Sequence[Row] = DEMONSTRATIONS if stage == "sft" else RANKINGS
    module: Any
    if stage == "sft":
        module = SFTModule(configured(SFTConfig(max_grad_norm=1e9), budget), 1, new_policy())
    elif stage == "dpo":
        policy = new_policy()
        module = DPOModule(configured(DPOConfig(max_grad_norm=1e9), budget), 1, policy, Reference({"train": rows}))
    else:
        options = {"ranked": {"loss": "plackett_luce"}, "centred": {"center_coef": 0.1, "label_smoothing": 0.1}}
        algo = RewardConfig(max_grad_norm=1e9, **options.get(stage, {}))  # type: ignore[arg-type]
        module = RewardModule(configured(algo, budget), 1, new_critic())
    fit(module, StageData(rows, [], lambda step: [0, 1, 2], budget))
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward", "ranked", "centred"])
def test_the_token_budget_changes_nothing(stage: str) -> None:
    whole, parts = one_update(stage, 10**6), one_update(stage, 8)
    assert whole.keys() == parts.keys() and any(grad.abs().max() > 1e-4 for grad in whole.values())
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_margins_that_the_data_lack_are_asked_for() -> None:
    module = RewardModule(configured(RewardConfig(margin_coef=0.5), 64), 1, new_critic())
    with pytest.raises(DataError, match=r"^algo.margin_coef: 3 of 3"):
        fit(module, StageData(RANKINGS, [], lambda step: [0, 1, 2], 64))


def test_a_margin_raises_the_loss_of_its_pair() -> None:
    """Scores start equal but for the head's noise: −log σ(−m) for a margin of m."""
    rows = [replace(row, margins=(2.0,) * len(row.pairs)) for row in RANKINGS]
    losses = []
    for coef in (0.0, 0.5):
        module = RewardModule(configured(RewardConfig(margin_coef=coef), 64), 1, new_critic())
        fit(module, StageData(rows, [], lambda step: [0, 1, 2], 64))
        losses.append(module.train_metrics["train/loss"])
    assert losses == [pytest.approx(0.693, abs=0.05), pytest.approx(1.313, abs=0.05)]


def test_sft_averages_over_tokens_not_examples() -> None:
    """The denominator by hand: Σ −log p over the 6 response tokens, divided by 6."""
    policy = new_policy()
    total = torch.zeros(())
    for row in DEMONSTRATIONS:
        ids = torch.tensor([row.prompt + row.responses[0]])
        logprobs = torch.log_softmax(policy.hf(input_ids=ids).logits, -1)[0]
        for place, token in enumerate(row.responses[0], len(row.prompt)):
            total = total - logprobs[place - 1, token]
    expected = torch.autograd.grad(total / 6, policy.hf.transformer.wte.weight)[0]
    torch.testing.assert_close(one_update("sft", 8)["policy.hf.transformer.wte.weight"], expected, rtol=1e-4, atol=1e-6)


def test_dpo_refuses_to_take_a_changed_policy_for_the_reference(tmp_path: Any) -> None:
    module = DPOModule(
        configured(DPOConfig(), 64),
        3,
        new_policy(),
        Reference({"train": RANKINGS}, store=tmp_path / "lost.safetensors"),
    )
    module.step = 1
    with pytest.raises(TrainingError, match="the reference log-probabilities are gone"):
        module.prepare_reference()


def test_the_reference_of_dpo_has_the_precision_of_the_policy() -> None:
    """In bf16 too the first margins are 0 but for rounding: rows are batched as they are in the first step."""
    module = DPOModule(configured(DPOConfig(lr=1e-9), 10**6), 1, new_policy(), Reference({"train": RANKINGS}))
    seen: list[float] = []
    right = module.learn
    module.learn = lambda step: seen.append(right(step)["margin"]) or {"tokens": 1.0}  # type: ignore[method-assign, func-returns-value]
    fit(module, StageData(RANKINGS, [], lambda step: [0, 1, 2], 10**6), "bf16-mixed")
    assert seen == [pytest.approx(0, abs=1e-7)]


def iteration(critic: str = "shared", steps: int = 1, **algo: Any) -> PPOModule:
    """PPO for a step or two in the closed-form world; returns the module with what it measured."""
    world = make_world()
    policy = new_policy(value_head=critic == "shared")
    config = configured(PPOConfig(**({"critic": critic, "lr": 1e-3} | algo)), 64)
    config.rollout.max_new_tokens = LONGEST
    module = PPOModule(
        config,
        steps,
        policy,
        new_critic() if critic == "separate" else None,
        world.reference,
        world.reward,
        TorchSampler(policy, EOS),
        ptx=(lambda update: DEMONSTRATIONS) if algo.get("ptx_coef") else None,
    )
    right = module.learn
    module.seen = []  # type: ignore[assignment]

    def learn(step: Any) -> dict[str, float]:
        metrics = right(step)
        module.seen.append(dict(metrics))  # type: ignore[operator, union-attr]
        return metrics

    module.learn = learn  # type: ignore[method-assign]
    rows = [Row(prompt, index=i) for i, prompt in enumerate(PROMPTS)] * 4
    fit(module, StageData(rows, [], lambda step: list(range(8)), 64, whole=True))
    return module


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_before_the_first_update_the_ratio_is_one(critic: str) -> None:
    """Scoring recomputes the log-probabilities that learning will see: also with micro-batches of other shapes."""
    seen: Any = iteration(critic, epochs=1).seen[0]  # type: ignore[index, union-attr]
    assert seen["policy/ratio"] == pytest.approx(1, abs=1e-3)
    assert seen["policy/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert seen["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert seen["policy/updates"] == 1


def test_updates_stop_early_where_the_policy_moves_too_far() -> None:
    seen: Any = iteration(epochs=4, lr=0.05, target_kl=1e-4).seen[0]  # type: ignore[index, union-attr]
    assert 1 < seen["policy/updates"] < 4


def test_the_adaptive_coefficient_follows_the_kl() -> None:
    module = iteration(steps=2, kl_controller="adaptive", kl_target=1e-3, kl_horizon=10, lr=0.05)
    # 8 episodes of a horizon of 10: KL 0 at first, so −20% · 8/10, then far above the target, so +20% · 8/10.
    assert module.kl.value == pytest.approx(0.05 * 0.84 * 1.16)
    again = iteration(kl_controller="adaptive", kl_horizon=10)
    again.load_extra_state(module.extra_state())
    assert again.kl.value == module.kl.value


@pytest.mark.parametrize(
    "algo",
    [
        {"kl_in": "loss", "kl_coef": 1.0},
        {"entropy_coef": 0.1},
        {"samples_per_prompt": 3},
        {"ptx_coef": 1.0},
        {"whiten_rewards": True, "score_clip": 1.0},
    ],
    ids=lambda algo: next(iter(algo)),
)
def test_every_option_of_ppo_changes_the_update(algo: dict[str, Any]) -> None:
    """An option that silently did nothing would leave the weights of the plain run."""
    plain, other = iteration(epochs=2), iteration(epochs=2, **algo)
    assert not torch.equal(plain.policy.hf.transformer.wte.weight, other.policy.hf.transformer.wte.weight)
    if "ptx_coef" in algo:
        assert other.seen[0]["policy/ptx_loss"] > 0  # type: ignore[index, union-attr]


def test_no_rows_make_no_micro_batches_on_any_rank() -> None:
    assert cut([], 100) == cut([], 100, rank=1, world=2) == []
