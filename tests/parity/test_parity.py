"""Our objectives give the numbers that TRL and torchtune gave for the same inputs, to 1e-5.

The golden values and the inputs are in `golden/`; `make_golden.py` made them, in the environments that
`requirements-*.txt` pin, and says where conventions differ. Neither library is imported here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_values import GOLDEN, assert_same, golden, tensor
from torch import Tensor

from rlhf.objectives.advantages import gae, whiten
from rlhf.objectives.numeric import Moments, moments
from rlhf.objectives.ppo import policy_loss, value_loss
from rlhf.objectives.preference.bradley_terry import accuracy, bradley_terry
from rlhf.objectives.preference.dpo import dpo
from rlhf.objectives.shaping import shaped_rewards


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_pinned_environment_made_them(path: Path) -> None:
    made_with = json.loads(path.read_text(encoding="utf-8"))["made_with"]
    library = path.stem.split("_")[0]
    pins = (GOLDEN.parent / f"requirements-{library}.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in pins if "==" in line and not line.startswith("#"))
    assert library in made_with
    for package, version in made_with.items():
        assert package == "python" or version.split("+")[0] == pinned[package]


@pytest.mark.parametrize("case", golden("trl", "dpo") + golden("torchtune", "dpo"))
def test_dpo(case: dict[str, Any]) -> None:
    chosen = tensor(case["policy_chosen"]).requires_grad_()
    rejected = tensor(case["policy_rejected"]).requires_grad_()
    lengths: dict[str, Tensor] = {}
    if case["loss"] == "ipo":
        lengths = {
            "chosen_lengths": tensor(case["chosen_length"]),
            "rejected_lengths": tensor(case["rejected_length"]),
        }
    result = dpo(
        chosen,
        rejected,
        tensor(case["reference_chosen"]),
        tensor(case["reference_rejected"]),
        beta=case["beta"],
        loss=case["loss"],
        label_smoothing=case.get("label_smoothing", 0.0),
        **lengths,
    )
    assert_same(result.losses, case["expected_loss"])
    assert_same(result.chosen_rewards, case["expected_chosen_reward"])
    assert_same(result.rejected_rewards, case["expected_rejected_reward"])
    chosen_gradient, rejected_gradient = torch.autograd.grad(result.losses.sum(), (chosen, rejected))
    assert_same(chosen_gradient, case["expected_chosen_gradient"])
    if "expected_rejected_gradient" in case:
        assert_same(rejected_gradient, case["expected_rejected_gradient"])


@pytest.mark.parametrize("case", golden("trl", "reward"))
def test_bradley_terry(case: dict[str, Any]) -> None:
    chosen, rejected = tensor(case["chosen"]).requires_grad_(), tensor(case["rejected"])
    margin = None if case["margin"] is None else tensor(case["margin"])
    loss = bradley_terry(chosen, rejected, margin=margin).mean()
    assert_same(loss, case["expected_mean_loss"])
    assert_same(torch.autograd.grad(loss, chosen)[0], case["expected_chosen_gradient"])
    assert_same(accuracy(chosen, rejected).mean(), case["expected_accuracy"])


@pytest.mark.parametrize("case", golden("torchtune", "ppo"))
def test_ppo_losses(case: dict[str, Any]) -> None:
    logprobs, values = tensor(case["logprobs"]).requires_grad_(), tensor(case["values"]).requires_grad_()
    policy = policy_loss(logprobs, tensor(case["old_logprobs"]), tensor(case["advantages"]), case["clip_epsilon"])
    value = value_loss(values, tensor(case["old_values"]), tensor(case["returns"]), case["clip_value"])
    assert_same(policy.losses.mean(), case["expected_mean_policy_loss"])
    assert_same(policy.ratio.mean(), case["expected_mean_ratio"])
    assert_same(policy.clipped.float().mean(), case["expected_clip_fraction"])
    assert_same(value.losses.mean(), case["expected_mean_value_loss"])
    assert_same(torch.autograd.grad(policy.losses.mean(), logprobs)[0], case["expected_logprobs_gradient"])
    assert_same(torch.autograd.grad(value.losses.mean(), values)[0], case["expected_values_gradient"])


@pytest.mark.parametrize("case", golden("torchtune", "rewards"))
def test_shaped_rewards(case: dict[str, Any]) -> None:
    rewards = shaped_rewards(
        tensor(case["scores"]),
        tensor(case["logprobs"]),
        tensor(case["reference_logprobs"]),
        tensor(case["mask"]).bool(),
        case["kl_coef"],
    )
    assert_same(rewards, case["expected_rewards"])


@pytest.mark.parametrize("case", golden("torchtune", "gae"))
def test_gae_and_whitening(case: dict[str, Any]) -> None:
    mask = tensor(case["mask"]).bool()
    advantages, returns = gae(tensor(case["rewards"]), tensor(case["values"]), mask, case["gamma"], case["lam"])
    n = int(mask.sum())
    # Where padded, torchtune goes on discounting what follows (nothing), so that both are 0 there.
    assert_same(returns, case["expected_returns"])
    assert_same(advantages, case["expected_advantages"])
    # torchtune's whitening divides by n − 1 and adds the mean back.
    mean, variance = moments(advantages, mask)
    theirs = whiten(advantages, mask, mean_shift=False, statistics=Moments(mean, variance * n / (n - 1)))
    assert_same(theirs, case["expected_whitened"])


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
def test_golden_values_are_worth_comparing(loss: str) -> None:
    """Both branches of the hinge, and losses that differ from pair to pair by far more than the tolerance."""
    cases = [case.values[0] for case in golden("trl", "dpo")]
    losses = [value for case in cases if case["loss"] == loss for value in case["expected_loss"]]
    assert max(losses) - min(losses) > 0.5
    assert len(losses) == 24
    if loss == "hinge":
        assert 0 < sum(v == 0 for v in losses) < 24
