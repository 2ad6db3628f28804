"""Our losses of a policy's own samples give what TRL's trainers gave for the same inputs, to 1e-5.

Losses and gradients are of a whole batch, since TRL returns nothing finer; `test_parity.py` says how `golden/` was
made.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from golden_values import assert_same, golden, tensor
from torch import Tensor

from lightning_modules.on_policy.critic_free import CriticFreeModule
from lightning_modules.on_policy.regularisers import Regularisers
from rlhf.config.algorithms.critic_free import CriticFreeConfig
from rlhf.config.algorithms.grpo import GRPOConfig
from rlhf.config.algorithms.rloo import RLOOConfig
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.groups import group_advantages
from rlhf.objectives.policy import PolicyLoss, denominator, token_weights

GRPO, RLOO = golden("trl_on_policy", "grpo"), golden("trl_on_policy", "rloo")


def loss_of(algo: CriticFreeConfig, case: dict[str, Any], beta: float = 0.0) -> tuple[Tensor, Tensor]:
    """The batch's loss by the module's own rule, and its gradient [E, L]."""
    logprobs, mask = tensor(case["logprobs"]).requires_grad_(), tensor(case["mask"]).bool()
    flat = {name: tensor(case[name])[mask] for name in ("old_logprobs", "reference_logprobs") if name in case}
    advantages = tensor(case["advantages"])
    lengths = mask.sum(-1)
    response = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    flat |= {"logprobs": flat["old_logprobs"], "advantages": advantages[response]}
    episodes: Any = SimpleNamespace(
        flat=lambda name, _: flat[name],
        numbers=lambda _: torch.arange(len(lengths)),
        advantages=advantages[:, None].expand(mask.shape),
    )
    rule = algo.update_rule()
    stage: Any = SimpleNamespace(algo=algo, rule=rule)
    stats = TokenStats(logprobs[mask])
    found: PolicyLoss = CriticFreeModule.policy_losses(stage, episodes, None, stats, lengths)  # type: ignore[arg-type]
    weights = token_weights(lengths, response, rule.aggregate, case.get("longest", 1))
    loss = (found.losses * weights).sum() if rule.ratio == "token" else found.losses.sum()
    loss = Regularisers(algo, None).added(loss, stats, episodes, None, beta, weights)  # type: ignore[arg-type]
    loss = loss / denominator(len(response), len(lengths), rule.aggregate)
    return loss, torch.autograd.grad(loss, logprobs)[0]


def grpo_of(case: dict[str, Any]) -> GRPOConfig:
    """Their options as our keys: with cispo `epsilon_high` is the bound itself, else without one it is `epsilon`."""
    kind, high = case["loss_type"], case["epsilon_high"]
    if kind == "cispo":
        return GRPOConfig(variant="cispo", clip_epsilon_high=high - 1)
    estimator = "weighted_k3" if case["use_bias_correction_kl"] else "k3"
    variant = "gspo" if case["importance_sampling_level"] == "sequence" else kind
    clips = {"clip_epsilon": case["epsilon"], "clip_epsilon_high": case["epsilon"] if high is None else high}
    return GRPOConfig(variant=variant, dual_clip=case["delta"], kl_estimator=estimator, **clips)


@pytest.mark.parametrize("case", GRPO)
def test_grpo(case: dict[str, Any]) -> None:
    loss, gradient = loss_of(grpo_of(case), case, case["beta"])
    assert_same(loss, case["expected_loss"])
    assert_same(gradient, case["expected_gradient"])


@pytest.mark.parametrize("case", RLOO)
def test_rloo(case: dict[str, Any]) -> None:
    loss, gradient = loss_of(RLOOConfig(clip_epsilon=case["epsilon"], clip_epsilon_high=case["epsilon_high"]), case)
    assert_same(loss, case["expected_loss"])
    assert_same(gradient, case["expected_gradient"])


@pytest.mark.parametrize("case", golden("trl_on_policy", "group_advantages"))
def test_group_advantages(case: dict[str, Any]) -> None:
    assert_same(group_advantages(tensor(case["rewards"]), case["scale"]), case["expected"])


def test_golden_values_are_worth_comparing() -> None:
    """Padding, clipping on both sides, and no two variants with one loss."""
    for case in [param.values[0] for param in GRPO + RLOO]:
        ratio = torch.exp(tensor(case["logprobs"]) - tensor(case["old_logprobs"]))[tensor(case["mask"]).bool()]
        assert not tensor(case["mask"]).bool().all() and ratio.max() > 1.3 and ratio.min() < 0.75
    assert len({param.values[0]["loss_type"] for param in GRPO}) == 5


VARIANTS = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "gspo")


@pytest.mark.parametrize("wrong", VARIANTS[1:])
def test_another_variant_fails(wrong: str) -> None:
    """Mutations: the case of one variant, computed as another, is off by more than a hundred tolerances."""
    case = GRPO[0].values[0]
    _, gradient = loss_of(GRPOConfig(variant=wrong, clip_epsilon_high=0.3), case)
    right = torch.tensor(case["expected_gradient"])
    assert (gradient - right).abs().max() > 1e-3
