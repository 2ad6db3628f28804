"""KTO, preference losses without a reference, and centred rewards give the numbers that TRL gave,
to 1e-5, and mutated ones don't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from golden_values import assert_same, golden, tensor
from torch import Tensor

from rlhf.objectives.preference import kto as kto_objective
from rlhf.objectives.preference import reference_free
from rlhf.objectives.preference.kto import KTOResult
from rlhf.objectives.preference.reference_free import PairLosses, Responses, cpo, orpo, simpo
from rlhf.objectives.preference.reward_losses import pair_losses


def run(case: dict[str, Any], chosen: Tensor, rejected: Tensor) -> PairLosses:
    sides = (
        Responses(chosen, tensor(case["chosen_length"])),
        Responses(rejected, tensor(case["rejected_length"])),
    )
    if case["method"] == "orpo":
        return orpo(*sides, odds_coef=case["beta"])
    known = {"label_smoothing": case["label_smoothing"], "sft_coef": case["cpo_alpha"]}
    if case["method"] == "cpo":
        return cpo(*sides, beta=case["beta"], **known)
    return simpo(*sides, beta=case["beta"], target_margin=case["simpo_gamma"], **known)


def check(case: dict[str, Any]) -> None:
    chosen, rejected = tensor(case["chosen"]).requires_grad_(), tensor(case["rejected"]).requires_grad_()
    result = run(case, chosen, rejected)
    assert_same(result.losses, case["expected_loss"])
    assert_same(result.chosen_rewards, case["expected_chosen_reward"])
    assert_same(result.rejected_rewards, case["expected_rejected_reward"])
    gradients = torch.autograd.grad(result.losses.sum(), (chosen, rejected))
    assert_same(gradients[0], case["expected_chosen_gradient"])
    assert_same(gradients[1], case["expected_rejected_gradient"])


@pytest.mark.parametrize("case", golden("trl_unpaired", "reference_free"))
def test_reference_free(case: dict[str, Any]) -> None:
    check(case)


def check_kto(case: dict[str, Any]) -> None:
    policy = tensor(case["policy"]).requires_grad_()
    desirable = tensor(case["desirable"]).bool()
    ratios = tensor(case["mismatched_policy"]) - tensor(case["mismatched_reference"])
    kl = kto_objective.kl_estimate(float(ratios.mean())) if case["loss"] == "kto" else 0.0
    assert kl == pytest.approx(case["expected_kl"], abs=1e-5)
    names = ("beta", "desirable_weight", "undesirable_weight", "loss")
    result = kto_objective.kto(policy, tensor(case["reference"]), desirable, kl, **{name: case[name] for name in names})
    assert_same(result.losses.mean(), case["expected_mean_loss"])
    assert_same(torch.autograd.grad(result.losses.mean(), policy)[0], case["expected_gradient"])
    assert_same(result.rewards[desirable].mean(), case["expected_desirable_reward"])
    assert_same(result.rewards[~desirable].mean(), case["expected_undesirable_reward"])


@pytest.mark.parametrize("case", golden("trl_unpaired", "kto"))
def test_kto(case: dict[str, Any]) -> None:
    check_kto(case)


@pytest.mark.parametrize("case", golden("trl_unpaired", "reward"))
def test_centred_rewards(case: dict[str, Any]) -> None:
    chosen, rejected = tensor(case["chosen"]).requires_grad_(), tensor(case["rejected"]).requires_grad_()
    margin = None if case["margin"] is None else tensor(case["margin"])
    loss = pair_losses(chosen, rejected, margin=margin, center_coef=case["center_coef"]).mean()
    assert_same(loss, case["expected_mean_loss"])
    for ours, side in zip(torch.autograd.grad(loss, (chosen, rejected)), ("chosen", "rejected"), strict=True):
        assert_same(ours, case[f"expected_{side}_gradient"])


def summed(patch: pytest.MonkeyPatch) -> None:
    """Log-probabilities of whole responses where the method asks for those per token."""
    patch.setattr(Responses, "means", property(lambda self: self.logprobs))


def margin_added(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._contrast
    patch.setattr(reference_free, "_contrast", lambda r, c, b, margin, *rest: right(r, c, b, -margin, *rest))


def margin_times_beta(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._contrast
    patch.setattr(reference_free, "_contrast", lambda r, c, b, margin, *rest: right(r, c, b, b * margin, *rest))


def other_way_round(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._contrast
    patch.setattr(reference_free, "_contrast", lambda r, *rest: right((r[1], r[0]), *rest))


def without_cross_entropy(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._contrast
    patch.setattr(reference_free, "_contrast", lambda r, c, b, m, e, coef: right(r, c, b, m, e, 0.0))


def smoothed_twice(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._contrast
    patch.setattr(reference_free, "_contrast", lambda r, c, b, m, e, coef: right(r, c, b, m, 2 * e, coef))


def probabilities_for_odds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reference_free, "_log_odds", lambda logprobs: logprobs)


def odds_upside_down(patch: pytest.MonkeyPatch) -> None:
    right = reference_free._log_odds
    patch.setattr(reference_free, "_log_odds", lambda logprobs: -right(logprobs))


def with_changed(patch: pytest.MonkeyPatch, change: Callable[..., tuple[Any, ...]], **options: Any) -> None:
    right = kto_objective.kto

    def mutated(policy: Tensor, reference: Tensor, desirable: Tensor, kl: float, **known: Any) -> KTOResult:
        return right(*change(policy, reference, desirable, kl), **(known | options))

    patch.setattr(kto_objective, "kto", mutated)


def estimate_ignored(patch: pytest.MonkeyPatch) -> None:
    with_changed(patch, lambda policy, reference, desirable, kl: (policy, reference, desirable, 0.0))


def estimate_added(patch: pytest.MonkeyPatch) -> None:
    with_changed(patch, lambda policy, reference, desirable, kl: (policy, reference, desirable, -kl))


def labels_flipped(patch: pytest.MonkeyPatch) -> None:
    with_changed(patch, lambda policy, reference, desirable, kl: (policy, reference, ~desirable, kl))


def estimate_not_clamped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kto_objective, "kl_estimate", lambda mean: mean)


def weights_ignored(patch: pytest.MonkeyPatch) -> None:
    with_changed(patch, lambda *given: given, desirable_weight=1.0, undesirable_weight=1.0)


MUTATIONS: list[tuple[str, Callable[[pytest.MonkeyPatch], None]]] = [
    ("simpo", summed),
    ("simpo", margin_added),
    ("simpo", margin_times_beta),
    ("cpo", other_way_round),
    ("cpo", without_cross_entropy),
    ("cpo", smoothed_twice),
    ("orpo", summed),
    ("orpo", probabilities_for_odds),
    ("orpo", odds_upside_down),
    ("kto", estimate_ignored),
    ("kto", estimate_added),
    ("kto", estimate_not_clamped),
    ("kto", labels_flipped),
    ("kto", weights_ignored),
]


@pytest.mark.parametrize(("method", "mutate"), MUTATIONS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_mutation_fails(
    method: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    tested: Callable[[dict[str, Any]], None] = check_kto if method == "kto" else check
    cases = [case.values[0] for case in golden("trl_unpaired", "kto" if method == "kto" else "reference_free")]
    failed = 0
    for case in cases:
        try:
            if case.get("method", method) == method:
                tested(case)
        except AssertionError:
            failed += 1
    assert failed
