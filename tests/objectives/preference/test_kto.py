"""KTO by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.preference.kto import kl_estimate, kto


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Log-ratios −10 + 12 = 2, −8 + 9 = 1 and −7 + 4 = −3.
POLICY, REFERENCE = torch.tensor([-10.0, -8.0, -7.0]), torch.tensor([-12.0, -9.0, -4.0])
DESIRABLE = torch.tensor([True, False, False])


def test_by_hand() -> None:
    found = kto(POLICY, REFERENCE, DESIRABLE, 0.5, beta=0.2, desirable_weight=1.5, undesirable_weight=0.5)
    expected = [
        1.5 * (1 - sigmoid(0.2 * (2 - 0.5))),
        0.5 * (1 - sigmoid(0.2 * (0.5 - 1))),
        0.5 * (1 - sigmoid(0.2 * (0.5 + 3))),
    ]
    assert found.losses.tolist() == pytest.approx(expected)
    assert found.rewards.tolist() == pytest.approx([0.4, 0.2, -0.6])


def test_without_the_estimate() -> None:
    """`apo_zero_unpaired`: 1 − σ(βr) of a desirable response, σ(βr) of another."""
    found = kto(POLICY, REFERENCE, DESIRABLE, 99.0, beta=0.2, loss="apo_zero_unpaired")
    assert found.losses.tolist() == pytest.approx([1 - sigmoid(0.4), sigmoid(0.2), sigmoid(-0.6)])


def test_gradients_raise_the_desirable_and_lower_the_others_and_leave_the_estimate_alone() -> None:
    policy, kl = POLICY.clone().requires_grad_(), torch.tensor(0.5, requires_grad=True)
    kto(policy, REFERENCE, DESIRABLE, kl, beta=0.2).losses.sum().backward()
    assert policy.grad is not None and kl.grad is None
    # −λβ·σ(z)·σ(−z), with z = β(2 − 0.5) = 0.3 of the first.
    assert policy.grad[0].item() == pytest.approx(-0.2 * sigmoid(0.3) * sigmoid(-0.3))
    assert (policy.grad > 0).tolist() == [False, True, True]


def test_a_loss_far_out_is_not_rounded_to_nothing() -> None:
    found = kto(torch.tensor([300.0]), torch.zeros(1), torch.tensor([True]), 0.0, beta=0.1)
    assert found.losses.item() == pytest.approx(math.exp(-30), rel=1e-4)


def test_the_estimate_is_never_negative_and_passes_on_what_is_no_number() -> None:
    assert [kl_estimate(x) for x in (-1.0, 0.0, 2.0)] == [0.0, 0.0, 2.0]
    assert math.isnan(kl_estimate(math.nan))


def test_values_out_of_range_are_refused() -> None:
    for wrong in ({"beta": 0.0}, {"beta": 0.1, "desirable_weight": -1.0}, {"beta": 0.1, "loss": "bco"}):
        with pytest.raises(ValueError, match="must be"):
            kto(POLICY, REFERENCE, DESIRABLE, 0.0, **wrong)  # type: ignore[arg-type]
