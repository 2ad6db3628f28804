"""`algo=dpo` gives the losses and gradients that TRL's DPOTrainer gave for the same tokens, to 1e-5.

The module itself is asked, with a policy whose log-probabilities are given: sums, lengths, weights and mixtures are
compared too. `golden_trl_pairs.py` made the golden values.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.dpo import DPOModule
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.whole_batch import WholeBatch, numbers
from lightning_modules.updates.averages import Means
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.logprobs import TokenStats

GOLDEN = json.loads((Path(__file__).parent / "golden" / "trl_pairs.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-5
DIVERGENCES = {"js_divergence": "js", "alpha_divergence": "alpha"}


def given(name: str) -> Tensor:
    return torch.tensor(GOLDEN["inputs"][name])


def named(case: dict[str, Any]) -> str:
    return "-".join(str(v) for k, v in case.items() if not k.startswith("expected"))


def ours(case: dict[str, Any]) -> DPOConfig:
    """TRL's options by our names."""
    losses = case.get("loss_type", ["sigmoid"])
    kind = case.get("f_divergence_type", "reverse_kl")
    # TRL has no label smoothing in these, and ignores it.
    ignores = losses in (["sigmoid"], ["ipo"])
    return DPOConfig(
        beta=case.get("beta", 0.1),
        loss=losses if len(losses) > 1 else losses[0],
        loss_weights=case.get("loss_weights", []),
        label_smoothing=0.0 if ignores else case.get("label_smoothing", 0.0),
        divergence=DIVERGENCES.get(kind, kind),
        divergence_alpha=1 - case.get("f_alpha_divergence_coef", 0.5),
        ld_alpha=case.get("ld_alpha"),
        weighting="wpo" if case.get("use_weighting") else "none",
    )


def losses_and_gradients(algo: DPOConfig) -> tuple[Tensor, Tensor, Any]:
    """Losses [P], gradients of their sum [tokens], and what is reported."""
    config = TrainConfig(algo=algo)
    algo.rules(config)
    lengths, policy, reference = given("lengths"), given("policy"), given("reference")
    mask = torch.arange(policy.shape[-1]) < lengths[..., None]
    rows = [Row((1,), ((2,) * a, (3,) * b), ((0, 1),), index=i) for i, (a, b) in enumerate(lengths.tolist())]
    tokens = policy[mask].requires_grad_()

    def said(batch: Any, *, want_log_squares: bool) -> TokenStats:
        return TokenStats(tokens, log_squares=given("log_squares")[mask] if want_log_squares else None)

    per_token = algo.ld_alpha is not None
    module = DPOModule(config, 1, said, Reference({}, per_token=per_token))  # type: ignore[arg-type]
    module.reference = {
        f"train/{i}": reference[i][mask[i]] if per_token else (reference[i] * mask[i]).sum(-1) for i in range(len(rows))
    }
    batch, means = collate(rows), Means()
    alone: Any = SimpleNamespace(data_ranks=1, data_rank=0, all_reduce=lambda tensor: tensor)
    found = module.look(batch, "train")
    for name in algo.sorts():
        module.whole[name] = WholeBatch(alone, [numbers(found.sides(name), batch)])
        module.whole[name].solve(module.of_sorted)
    losses = module.mixed(found, batch, means)
    return losses.detach(), torch.autograd.grad(losses.sum(), tokens)[0], (means, mask)


@pytest.mark.parametrize("case", GOLDEN["losses"], ids=named)
def test_losses_and_gradients(case: dict[str, Any]) -> None:
    losses, gradient, (_, mask) = losses_and_gradients(ours(case))
    expected_losses, expected = torch.tensor(case["expected_loss"]), torch.tensor(case["expected_gradient"])[mask]
    if len(expected_losses) == 1:  # of the whole batch, a mean
        losses, gradient = losses.mean(0, keepdim=True), gradient / len(losses)
    torch.testing.assert_close(losses, expected_losses, atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(gradient, expected, atol=TOLERANCE, rtol=TOLERANCE)
    assert gradient.abs().max() > 1e-3


def test_a_mixture_reports_its_parts() -> None:
    losses, _, (means, _) = losses_and_gradients(DPOConfig(loss=["sigmoid", "sft"], loss_weights=[1.0, 0.2]))
    found = means.reduce(lambda x: x)
    assert found["loss_sigmoid"] + 0.2 * found["loss_sft"] == pytest.approx(float(losses.mean()), rel=1e-6)
