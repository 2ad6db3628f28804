from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf.objectives.preference.divergences import divergence_scores
from rlhf.objectives.preference.dpo import DPOResult, dpo
from rlhf.objectives.preference.pair_losses import chosen_nll
from rlhf.objectives.preference.pair_weights import desensitised, wpo_weights

SIGMOID_1 = 1 / (1 + math.exp(-1))
SIGMOID_2 = 1 / (1 + math.exp(-2))

# Log-ratios to the reference: −10 + 12 = 2 and −8 + 9 = 1, so that Δ = 1; and −5 + 5 = 0, −4 + 7 = 3, so that Δ = −3.
POLICY_CHOSEN, POLICY_REJECTED = torch.tensor([-10.0, -5.0]), torch.tensor([-8.0, -4.0])
REFERENCE_CHOSEN, REFERENCE_REJECTED = torch.tensor([-12.0, -5.0]), torch.tensor([-9.0, -7.0])


def run_dpo(
    policy_chosen: Tensor = POLICY_CHOSEN, policy_rejected: Tensor = POLICY_REJECTED, **kwargs: Any
) -> DPOResult:
    return dpo(policy_chosen, policy_rejected, REFERENCE_CHOSEN, REFERENCE_REJECTED, **kwargs)


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
            ({"beta": 0.1, "loss": "cosine"}, "loss is 'cosine'; it must be one of sigmoid, hinge, ipo"),
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


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class TestFamily:
    """At β = 0.5: c = 0.5·2 = 1 and r = 0.5·1 = 0.5, so x = 0.5; then c = 0, r = 1.5, x = −1.5."""

    @pytest.mark.parametrize(
        ("loss", "options", "expected"),
        [
            # (−0.9·log σ(x) + 0.1·log σ(−x)) / 0.8
            ("robust", {"label_smoothing": 0.1}, lambda c, r: (-0.9 * ln_s(c - r) + 0.1 * ln_s(r - c)) / 0.8),
            # KL of (σ(x), σ(−x)) from (0.9, 0.1)
            (
                "exo_pair",
                {"label_smoothing": 0.1},
                lambda c, r: (
                    sigma(c - r) * (ln_s(c - r) - math.log(0.9)) + sigma(r - c) * (ln_s(r - c) - math.log(0.1))
                ),
            ),
            ("nca_pair", {}, lambda c, r: -ln_s(c) - 0.5 * ln_s(-c) - 0.5 * ln_s(-r)),
            ("bco_pair", {"reward_shift": 0.2}, lambda c, r: -ln_s(c - 0.2) - ln_s(0.2 - r)),
            # Without β: the log-ratios 2 and 1 aim at 1 and −1.
            ("sppo_hard", {}, lambda c, r: (2 * c - 1) ** 2 + (2 * r + 1) ** 2),
            ("apo_zero", {}, lambda c, r: 1 - sigma(c) + sigma(r)),
            ("apo_down", {}, lambda c, r: sigma(c) + 1 - sigma(c - r)),
            (
                "discopop",
                {"discopop_tau": 0.5},
                lambda c, r: (1 - sigma(2 * (c - r))) * -ln_s(c - r) + sigma(2 * (c - r)) * math.exp(r - c),
            ),
            ("sigmoid", {"margin": torch.tensor([0.3, 0.3])}, lambda c, r: -ln_s(c - r - 0.3)),
            ("hinge", {"margin": torch.tensor([0.3, 0.3])}, lambda c, r: max(0.0, 1.3 - c + r)),
        ],
    )
    def test_by_hand(self, loss: Any, options: dict[str, Any], expected: Any) -> None:
        losses = run_dpo(beta=0.5, loss=loss, **options).losses
        assert losses.tolist() == pytest.approx([expected(1.0, 0.5), expected(0.0, 1.5)], rel=1e-6)

    def test_length_normalised_by_hand(self) -> None:
        # 2/4 − 1/2 = 0; 0/5 − 3/3 = −1.
        lengths = {"chosen_lengths": torch.tensor([4, 5]), "rejected_lengths": torch.tensor([2, 3])}
        losses = run_dpo(beta=2.0, loss="sigmoid_norm", **lengths).losses
        assert losses.tolist() == pytest.approx([math.log(2), 2 + math.log(1 + math.exp(-2))])

    @pytest.mark.parametrize(
        ("divergence", "score"),
        [
            ("forward_kl", lambda x: 1 - math.exp(-x)),
            ("js", lambda x: math.log(2 * math.exp(x) / (1 + math.exp(x)))),
            ("alpha", lambda x: (1 - math.exp(-0.25 * x)) / 0.25),
        ],
    )
    def test_divergences_by_hand(self, divergence: Any, score: Any) -> None:
        losses = run_dpo(beta=0.5, divergence=divergence, divergence_alpha=0.25).losses
        assert losses.tolist() == pytest.approx([-ln_s(0.5 * (score(a) - score(b))) for a, b in ((2, 1), (0, 3))])

    def test_the_alpha_divergence_lies_between_the_two_kls(self) -> None:
        x = torch.linspace(-2, 2, 5)
        for alpha, end in ((1e-3, "reverse_kl"), (1 - 1e-3, "forward_kl")):
            near = divergence_scores(x, "alpha", alpha)
            torch.testing.assert_close(near, divergence_scores(x, end), atol=0.01, rtol=0.01)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("loss", "divergence"),
        [("sigmoid", "forward_kl"), ("sigmoid", "alpha"), ("hinge", "forward_kl"), ("discopop", "reverse_kl")],
    )
    def test_a_response_that_became_impossible_has_a_finite_gradient(self, loss: Any, divergence: Any) -> None:
        """A rejected response 500 nats below the reference: exp(500) is infinite, and its gradient is 0 · ∞."""
        rejected = torch.tensor([-500.0, 400.0 if loss == "discopop" else -500.0], requires_grad=True)
        zero = torch.zeros(2)
        losses = dpo(zero, rejected, zero, zero, beta=1.0, loss=loss, divergence=divergence).losses
        losses.sum().backward()
        assert rejected.grad is not None
        assert losses.isfinite().all() and rejected.grad.isfinite().all()

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"loss": "apo_zero", "label_smoothing": 0.1}, "loss=apo_zero has none"),
            ({"loss": "exo_pair"}, "label_smoothing is 0"),
            ({"loss": "nca_pair", "divergence": "js"}, "loss=nca_pair is defined for reverse_kl only"),
            ({"divergence": "chi"}, "divergence is 'chi'"),
            ({"divergence": "alpha", "divergence_alpha": 1.0}, "alpha is 1.0"),
            ({"loss": "ipo", "margin": torch.zeros(2)}, "margin is given"),
            ({"label_smoothing": 0.1, "margin": torch.zeros(2)}, "margin is given"),
            ({"loss": "sigmoid_norm"}, "chosen_lengths and rejected_lengths"),
        ],
    )
    def test_refuses(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            run_dpo(beta=0.1, **kwargs)


def ln_s(x: float) -> float:
    return math.log(sigma(x))


class TestWeights:
    def test_desensitised_by_hand(self) -> None:
        # Three tokens against two: −1 − 2 and a quarter of −4. Two against three: all of it. Padding says nothing.
        logprobs = torch.tensor([[-1.0, -2.0, -4.0], [-1.0, -2.0, math.nan]])
        mask = torch.tensor([[True, True, True], [True, True, False]])
        found = desensitised(logprobs, mask, torch.tensor([2, 3]), 0.25)
        assert found.tolist() == [-4.0, -3.0]

    def test_wpo_by_hand(self) -> None:
        # exp(−2/2)·exp(1/4).
        found = wpo_weights(torch.tensor([-2.0]), torch.tensor([1.0]), torch.tensor([2]), torch.tensor([4]))
        assert found.tolist() == pytest.approx([math.exp(-0.75)])

    def test_chosen_nll_is_per_token(self) -> None:
        assert chosen_nll(torch.tensor([-6.0, -1.0]), torch.tensor([3, 4])).tolist() == [2.0, 0.25]
