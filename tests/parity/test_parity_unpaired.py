"""Preference losses without a reference give the numbers that TRL gave, to 1e-5, and mutated ones don't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from golden_values import assert_same, golden, tensor
from torch import Tensor

from rlhf.objectives import reference_free
from rlhf.objectives.reference_free import PairLosses, Responses, cpo, orpo, simpo


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
]


@pytest.mark.parametrize(("method", "mutate"), MUTATIONS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_mutation_fails(
    method: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    cases = [
        found for case in golden("trl_unpaired", "reference_free") if (found := case.values[0])["method"] == method
    ]
    failed = 0
    for case in cases:
        try:
            check(case)
        except AssertionError:
            failed += 1
    assert failed
