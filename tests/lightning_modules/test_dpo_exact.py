"""Every loss of the family ends at the same weights whatever the micro-batches, and after a resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from closed_form import fit, new_policy

from lightning_modules.data import StageData
from lightning_modules.dpo import DPOModule
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.sequence_logprobs import response_logprobs
from lightning_modules.preference.whole_batch import WholeBatch, numbers
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import collate
from rlhf.data.rows import Row

ROWS = [
    Row((1, 2), ((3, 1, 0), (2, 0), (1, 1, 0)), pairs=((0, 1), (0, 2), (1, 2)), index=0, margins=(1.0, 2.0, 1.0)),
    Row((3,), ((2, 0), (1, 1, 1, 0)), pairs=((1, 0),), index=1, margins=(0.5,)),
    Row((2, 2, 1), ((0,), (3, 0)), pairs=((0, 1),), index=2, margins=(3.0,)),
]
OPTIONS: list[dict[str, Any]] = [
    {"loss": "aot"},
    {"loss": "aot_unpaired", "label_smoothing": 0.1},
    {"loss": ["aot", "aot_unpaired", "sft"], "loss_weights": [1.0, 0.5, 0.1]},
    {"loss": "bco_pair"},
    {"loss": "sigmoid_norm", "divergence": "js", "ld_alpha": 0.3},
    {"loss": "hinge", "margin_coef": 0.5, "weighting": "wpo"},
    {"loss": "ipo", "reference_sync_steps": 2, "reference_mixup": 0.5},
    {"loss": "sigmoid", "beta_end": 0.5, "beta_schedule": "linear"},
]
STEPS = 5


def trained(
    algo: dict[str, Any], budget: int = 10**6, steps: int = STEPS, before: Callable[[DPOModule], None] | None = None
) -> DPOModule:
    """A module after `steps` steps, one row twice in some of them."""
    config = TrainConfig(
        algo=DPOConfig(**({"lr": 3e-2, "beta": 0.3, "max_grad_norm": 1e9, "lr_schedule": "constant"} | algo))
    )
    config.train.tokens_per_microbatch = budget
    live = new_policy() if "reference_sync_steps" in algo else None
    known = Reference({"train": ROWS}, per_token="ld_alpha" in algo)
    module = DPOModule(config, steps, new_policy(), known, live)
    if live is not None:
        live.eval().requires_grad_(False)
    if before is not None:
        before(module)
    fit(module, StageData(ROWS, [], lambda step: [0, 1, 2, step % 3], budget))
    return module


@torch.no_grad()
def said(policy: Any) -> torch.Tensor:
    """Log-probabilities of all responses. Weights won't do: Adam makes steps of the noise in gradients that are 0."""
    return response_logprobs(policy, collate(ROWS))


@pytest.mark.parametrize("algo", OPTIONS, ids=str)
def test_micro_batches_change_nothing(algo: dict[str, Any]) -> None:
    before, whole, parts = (said(policy) for policy in (new_policy(), trained(algo).policy, trained(algo, 8).policy))
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-3)
    assert (whole - before).abs().max() > 0.5


@pytest.mark.parametrize("loss", ["aot", "aot_unpaired"])
def test_sorting_each_micro_batch_alone_would_be_noticed(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = said(trained({"loss": loss}).policy)
    right = DPOModule.loss_sum

    def alone(self: DPOModule, batch: Any) -> Any:
        self.whole[loss] = WholeBatch(self, [numbers(self.look(batch, "train").sides(loss), batch)])
        self.whole[loss].solve(self.of_sorted)
        return right(self, batch)

    monkeypatch.setattr(DPOModule, "loss_sum", alone)
    assert (said(trained({"loss": loss}, budget=8).policy) - whole).abs().max() > 0.1


def test_the_shift_of_bco_is_the_mean_reward_so_far_and_is_saved() -> None:
    seen: list[dict[str, float]] = []

    def watch(module: DPOModule) -> None:
        learn = module.learn
        module.learn = lambda step: seen.append(learn(step)) or {"tokens": 1.0}  # type: ignore[method-assign, func-returns-value]

    module = trained({"loss": "bco_pair"}, before=watch)
    means = [(step["chosen_reward"] + step["rejected_reward"]) / 2 for step in seen]
    assert [step["reward_shift"] for step in seen] == pytest.approx([0, *(sum(means[:n]) / n for n in range(1, STEPS))])
    assert max(map(abs, means)) > 0.01
    again = DPOModule(module.config, STEPS, new_policy(), Reference({}))
    again.load_extra_state(module.extra_state())
    assert again.reward_shift == module.reward_shift == pytest.approx(sum(means) / STEPS)
    assert trained({"loss": "bco_pair", "bco_shift": "none"}).reward_shift == 0


def test_the_live_reference_follows_every_other_update_and_is_saved() -> None:
    policies: list[dict[str, torch.Tensor]] = []

    def watch(module: DPOModule) -> None:
        assert module.live is not None
        follow = module.live.follow

        def seen(policy: Any) -> None:
            policies.append({name: p.detach().clone() for name, p in policy.named_parameters()})
            follow(policy)

        module.live.follow = seen  # type: ignore[method-assign]

    module = trained({"reference_sync_steps": 2, "reference_mixup": 0.25}, before=watch)
    assert module.live is not None and len(policies) == 2
    start = dict(new_policy().named_parameters())
    state = module.live.state()
    for name, before in start.items():
        expected = 0.75 * (0.75 * before + 0.25 * policies[0][name]) + 0.25 * policies[1][name]
        torch.testing.assert_close(state[name], expected.detach(), rtol=1e-5, atol=1e-6)
    again = DPOModule(module.config, STEPS, new_policy(), Reference({}), new_policy())
    again.load_extra_state(module.extra_state())
    assert again.live is not None
    assert all(torch.equal(p, state[name]) for name, p in again.live.state().items())
