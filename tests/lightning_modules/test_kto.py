"""KTO's KL is one number for the whole optimisation batch, however it is cut, and follows the policy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from closed_form import fit, new_policy

from lightning_modules.data import StageData
from lightning_modules.kto import KTOModule, unbalanced
from lightning_modules.preference.reference import Reference
from lightning_modules.updates.micro_batches import Micro, cut
from rlhf.config import TrainConfig
from rlhf.config.algorithms.kto import KTOConfig
from rlhf.data.mismatched import mismatched
from rlhf.data.rows import Row
from rlhf.errors import DataError
from rlhf.models.language import LanguageModel

ROWS = [
    Row((1, 2), ((3, 1, 0), (2, 0), (1, 1, 0)), index=0, labels=(True, False, True)),
    Row((3,), ((2, 0), (1, 1, 1, 0)), index=1, labels=(False, False)),
    Row((2, 2, 1), ((0,), (3, 0)), index=2, labels=(True, False)),
    Row((3, 3), ((1, 2, 0),), index=3, labels=(True,)),
]


def trained(budget: int, steps: int = 3, val: bool = False, **algo: Any) -> tuple[KTOModule, list[dict[str, float]]]:
    config = TrainConfig(algo=KTOConfig(**({"lr": 3e-2, "max_grad_norm": 1e9, "beta": 0.5} | algo)))
    config.train.tokens_per_microbatch = budget
    known = {"train": ROWS, "val": ROWS} if val else {"train": ROWS}
    module = KTOModule(config, steps, new_policy(), Reference(known))
    seen: list[dict[str, float]] = []
    right = module.learn
    module.learn = lambda step: seen.append(right(step)) or {"tokens": 1.0}  # type: ignore[method-assign, func-returns-value]
    fit(module, StageData(ROWS, [], lambda step: [0, 1, 2, 3], budget))
    return module, seen


def logprob(policy: LanguageModel, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    ids = torch.tensor([prompt + response])
    logprobs = torch.log_softmax(policy.hf(input_ids=ids).logits, -1)[0]
    return sum(logprobs[place - 1, token].item() for place, token in enumerate(response, len(prompt)))


@torch.no_grad()
def test_the_estimate_by_hand() -> None:
    """Prompts with others' answers, one by one, after two updates."""
    reference = new_policy()
    _, seen = trained(10**6, steps=3, lr_schedule="constant", warmup_steps=0)
    module, before = trained(10**6, steps=2, lr_schedule="constant", warmup_steps=0)
    others = mismatched(ROWS, module.config.data.max_length, module.config.data.seed)
    ratios = [
        logprob(module.policy, row.prompt, response) - logprob(reference, row.prompt, response)
        for row in others
        for response in row.responses
    ]
    assert seen[0]["kl"] == before[0]["kl"] == 0.0, "the policy starts as the reference"
    assert len(ratios) == 8
    assert seen[2]["kl"] == pytest.approx(max(0.0, sum(ratios) / 8), abs=1e-5)


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_the_token_budget_changes_nothing(loss: str) -> None:
    (whole, seen), (parts, cut) = trained(10**6, loss=loss), trained(8, loss=loss)
    assert [step.get("kl") for step in cut] == [pytest.approx(step.get("kl"), abs=1e-5) for step in seen]
    assert [step["loss"] for step in cut] == pytest.approx([step["loss"] for step in seen], abs=1e-5)
    gradients = {name: parameter.grad for name, parameter in parts.policy.named_parameters()}
    for name, parameter in whole.policy.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-2, atol=1e-4, msg=name)


def test_shares_of_ranks_add_up_to_the_estimate() -> None:
    """Micro-batches dealt to two ranks: sums over both are those of one."""
    module, _ = trained(10**6, steps=2)
    with torch.no_grad():
        whole = module.mismatched_ratios([*module.others["train"].values()], "train")
        shares = [module.mismatched_ratios([*module.others["train"].values()][rank::2], "train") for rank in (0, 1)]
    torch.testing.assert_close(shares[0].sums["kl"] + shares[1].sums["kl"], whole.sums["kl"])


def test_validation_uses_the_estimate_of_all_held_out_rows() -> None:
    one, other = (trained(10**6, val=True)[0] for _ in range(2))
    for module, budget in ((one, 10**6), (other, 8)):
        module.on_validation_epoch_start()
        with torch.no_grad():
            for number, micro in enumerate([*cut(ROWS, budget), Micro(ROWS[:1], live=False)]):
                module.validation_step(micro, number)
        module.on_validation_epoch_end()
    assert one.val_metrics.keys() == other.val_metrics.keys() >= {"val/loss", "val/accuracy", "val/kl", "val/margin"}
    assert {name: pytest.approx(value, abs=1e-4) for name, value in one.val_metrics.items()} == other.val_metrics
    assert 0 <= one.val_metrics["val/accuracy"] <= 1 and math.isfinite(one.val_metrics["val/loss"])


def test_one_prompt_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"^data=.*apo_zero_unpaired"):
        KTOModule(TrainConfig(algo=KTOConfig()), 1, new_policy(), Reference({"train": ROWS[:1]}))


def test_the_cache_of_a_reference_that_is_asked_more_is_another_one() -> None:
    known = Reference({"train": ROWS}, key="0" * 64)
    more = known.beside({"train mismatched": ROWS[:2]})
    assert known.cache != more.cache != known.beside({"train mismatched": ROWS[1:]}).cache
    assert more.rows.keys() == {"train", "train mismatched"}


def test_weights_that_let_one_kind_rule_are_named() -> None:
    rows = [Row((1,), ((2,),) * 5, labels=(True, False, False, False, False))]
    said = unbalanced(KTOConfig(), rows)
    assert said is not None and said.startswith("algo.desirable_weight:") and " 4 " in said
    assert unbalanced(KTOConfig(desirable_weight=4.0), rows) is None
    said = unbalanced(KTOConfig(desirable_weight=20.0), rows)
    assert said is not None and said.startswith("algo.undesirable_weight:")
    assert unbalanced(KTOConfig(undesirable_weight=0.0), rows) is not None
    assert "all 1 labels" in str(unbalanced(KTOConfig(), [Row((1,), ((2,),), labels=(True,))]))
