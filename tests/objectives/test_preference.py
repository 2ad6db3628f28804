from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlhf.objectives.preference import DPOResult, accuracy, bradley_terry, dpo, expected_calibration_error

SIGMOID_1 = 1 / (1 + math.exp(-1))
SIGMOID_2 = 1 / (1 + math.exp(-2))

# Log-ratios to the reference: −10 + 12 = 2 and −8 + 9 = 1, so that Δ = 1; and −5 + 5 = 0, −4 + 7 = 3, so that Δ = −3.
POLICY_CHOSEN, POLICY_REJECTED = torch.tensor([-10.0, -5.0]), torch.tensor([-8.0, -4.0])
REFERENCE_CHOSEN, REFERENCE_REJECTED = torch.tensor([-12.0, -5.0]), torch.tensor([-9.0, -7.0])


def run_dpo(
    policy_chosen: Tensor = POLICY_CHOSEN, policy_rejected: Tensor = POLICY_REJECTED, **kwargs: Any
) -> DPOResult:
    return dpo(policy_chosen, policy_rejected, REFERENCE_CHOSEN, REFERENCE_REJECTED, **kwargs)


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


class TestDPO:
    def test_sigmoid_by_hand(self) -> None:
        losses = run_dpo(beta=1.0).losses
        assert losses.tolist() == pytest.approx([-math.log(SIGMOID_1), 3 + math.log(1 + math.exp(-3))])

    def test_label_smoothing_by_hand(self) -> None:
        # βΔ = 2 and ε = 0.1: 0.9·(−log σ(2)) + 0.1·(−log σ(−2)).
        losses = run_dpo(beta=2.0, label_smoothing=0.1).losses
        assert losses[0].item() == pytest.approx(-0.9 * math.log(SIGMOID_2) - 0.1 * math.log(1 - SIGMOID_2))

    def test_label_smoothing_stops_at_the_believed_odds(self) -> None:
        # The loss is least where σ(βΔ) = 1 − ε: there the gradient is 0, and beyond it turns round.
        epsilon = 0.2
        best = math.log((1 - epsilon) / epsilon)
        at = torch.tensor([best - 0.5, best, best + 0.5], dtype=torch.float64, requires_grad=True)
        zero = torch.zeros(3, dtype=torch.float64)
        dpo(at, zero, zero, zero, beta=1.0, label_smoothing=epsilon).losses.sum().backward()
        assert at.grad is not None
        assert at.grad[0] < -0.01
        assert abs(at.grad[1]) < 1e-12
        assert at.grad[2] > 0.01

    def test_ipo_by_hand(self) -> None:
        # Chosen 2/4, rejected 1/2 → 0 − 1/(2·0.25) = −2, squared 4; chosen 0/5, rejected 3/3 → (−1 − 2)² = 9.
        losses = run_dpo(
            beta=0.25, loss="ipo", chosen_lengths=torch.tensor([4, 5]), rejected_lengths=torch.tensor([2, 3])
        ).losses
        assert losses.tolist() == pytest.approx([4.0, 9.0])

    def test_hinge_by_hand(self) -> None:
        # 1 − 0.5·1, 1 + 0.5·3; and 1 − 2·1 < 0 is 0.
        assert run_dpo(beta=0.5, loss="hinge").losses.tolist() == pytest.approx([0.5, 2.5])
        assert run_dpo(beta=2.0, loss="hinge").losses.tolist() == pytest.approx([0.0, 7.0])

    def test_implicit_rewards(self) -> None:
        result = run_dpo(beta=0.1)
        assert result.chosen_rewards.tolist() == pytest.approx([0.2, 0.0])
        assert result.rejected_rewards.tolist() == pytest.approx([0.1, 0.3])

    def test_gradient_is_of_the_policy_alone(self) -> None:
        tensors = [
            t.clone().requires_grad_() for t in (POLICY_CHOSEN, POLICY_REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED)
        ]
        result = dpo(*tensors, beta=1.0)
        assert not result.chosen_rewards.requires_grad and not result.rejected_rewards.requires_grad
        result.losses[0].backward()
        # Rafailov et al.: −β·σ(−βΔ) for the chosen response's log-probability, and its opposite for the rejected one's.
        assert tensors[0].grad is not None and tensors[1].grad is not None
        assert tensors[0].grad.tolist() == pytest.approx([-(1 - SIGMOID_1), 0.0])
        assert tensors[1].grad.tolist() == pytest.approx([1 - SIGMOID_1, 0.0])
        assert tensors[2].grad is None and tensors[3].grad is None

    def test_a_fresh_policy_loses_log_2(self) -> None:
        same = torch.tensor([-40.0, -3.0])
        assert dpo(same, same - 1, same, same - 1, beta=0.1).losses.tolist() == pytest.approx([math.log(2)] * 2)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"beta": 0.1, "loss": "cosine"}, "loss is 'cosine'; it must be one of sigmoid, ipo, hinge"),
            ({"beta": 0.0}, "beta is 0.0"),
            ({"beta": 0.1, "label_smoothing": 0.5}, r"label_smoothing is 0.5; it must be in \[0, 0.5\)"),
            ({"beta": 0.1, "label_smoothing": -0.1}, "label_smoothing is -0.1"),
            ({"beta": 0.1, "loss": "ipo", "label_smoothing": 0.1}, "but loss=ipo has none"),
            ({"beta": 0.1, "loss": "hinge", "label_smoothing": 0.1}, "but loss=hinge has none"),
            ({"beta": 0.1, "loss": "ipo"}, "chosen_lengths and rejected_lengths"),
        ],
    )
    def test_refuses(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            run_dpo(**kwargs)

    def test_half_precision_is_widened_before_subtracting(self) -> None:
        # 297 has 9 significant bits, one more than bf16 holds: a difference taken in bf16 would be 296.
        policy, reference = torch.tensor([-3.0], dtype=torch.bfloat16), torch.tensor([-300.0], dtype=torch.bfloat16)
        zero = torch.zeros(1, dtype=torch.bfloat16)
        result = dpo(policy, zero, reference, zero, beta=1.0)
        assert result.losses.dtype == torch.float32
        assert result.chosen_rewards.item() == 297.0


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
