from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlhf.objectives.preference.bradley_terry import accuracy, bradley_terry, expected_calibration_error

SIGMOID_1 = 1 / (1 + math.exp(-1))


class TestBradleyTerry:
    def test_by_hand(self) -> None:
        losses = bradley_terry(torch.tensor([1.5, 0.0]), torch.tensor([0.5, 0.0]))
        assert losses.tolist() == pytest.approx([-math.log(SIGMOID_1), math.log(2)])

    def test_weights_scale_each_loss(self) -> None:
        losses = bradley_terry(torch.zeros(2), torch.zeros(2), weights=torch.tensor([0.5, 2.0]))
        assert losses.tolist() == pytest.approx([0.5 * math.log(2), 2 * math.log(2)])

    def test_margin_asks_for_more(self) -> None:
        with_margin = bradley_terry(torch.tensor([3.0]), torch.tensor([1.0]), margin=torch.tensor([1.0]))
        assert with_margin.tolist() == pytest.approx([-math.log(SIGMOID_1)])

    def test_gradient_raises_chosen_and_lowers_rejected(self) -> None:
        chosen, rejected = torch.tensor([1.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
        bradley_terry(chosen, rejected).sum().backward()
        assert chosen.grad is not None and rejected.grad is not None
        assert chosen.grad.item() == pytest.approx(-(1 - SIGMOID_1))
        assert rejected.grad.item() == pytest.approx(1 - SIGMOID_1)

    def test_a_hopeless_pair_has_a_finite_loss(self) -> None:
        # −log σ(−1000) is 1000; log(sigmoid(·)) in two steps would be infinite.
        assert bradley_terry(torch.tensor([-500.0]), torch.tensor([500.0])).item() == 1000.0

    @given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-50, 50))
    def test_only_differences_count(self, chosen: float, rejected: float, shift: float) -> None:
        a, b = torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected], dtype=torch.float64)
        torch.testing.assert_close(bradley_terry(a, b), bradley_terry(a + shift, b + shift))


class TestAccuracy:
    def test_ties_count_one_half(self) -> None:
        assert accuracy(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])).tolist() == [1.0, 0.5, 0.0]


class TestCalibration:
    def test_by_hand(self) -> None:
        # Seen both ways: 0.9, 0.9 (right) and 0.2 (wrong, so 0.8 was said of what did not happen).
        # Bin 0.9: said 0.9, happened 1 → gap 0.1, weight 2. Bin 0.8: said 0.8, happened 0 → gap 0.8, weight 1.
        # Mirrored bins have the same gaps: (2·(2·0.1 + 0.8)) / 6 = 1/3.
        assert expected_calibration_error(torch.tensor([0.9, 0.9, 0.2])).item() == pytest.approx(1 / 3, abs=1e-6)

    def test_calibrated_predictions_have_none(self) -> None:
        # Says 0.75 of one side of each pair, and is right in three of four.
        assert expected_calibration_error(torch.tensor([0.75, 0.75, 0.75, 0.25])).item() == pytest.approx(0.0)

    def test_certainty_is_punished_where_it_is_wrong(self) -> None:
        assert expected_calibration_error(torch.tensor([1.0, 1.0, 1.0, 1.0])).item() == 0.0
        assert expected_calibration_error(torch.tensor([1.0, 0.0])).item() == pytest.approx(0.5)

    def test_underconfidence_counts_too(self) -> None:
        # Always right, and says 0.6.
        assert expected_calibration_error(torch.full((5,), 0.6)).item() == pytest.approx(0.4)

    def test_weights(self) -> None:
        weighted = expected_calibration_error(torch.tensor([0.9, 0.2]), weights=torch.tensor([2.0, 1.0]))
        assert weighted.item() == pytest.approx(1 / 3, abs=1e-6)

    def test_over_ranks(self) -> None:
        """Two ranks' sums give what one rank with all pairs gives; each alone would be off."""
        mine, others = torch.tensor([0.9, 0.9]), torch.tensor([0.2])
        seen: list[Tensor] = []

        def keep(sums: Tensor) -> Tensor:
            seen.append(sums)
            return sums

        expected_calibration_error(others, all_reduce=keep)
        together = expected_calibration_error(mine, all_reduce=lambda sums: sums + seen[0])
        assert together.item() == pytest.approx(1 / 3, abs=1e-6)

    def test_nothing_to_judge_is_not_perfect(self) -> None:
        assert math.isnan(expected_calibration_error(torch.zeros(0)).item())

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_between_0_and_1(self, probabilities: list[float]) -> None:
        assert 0 <= expected_calibration_error(torch.tensor(probabilities)).item() <= 1
