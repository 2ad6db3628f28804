"""SimPO, CPO and ORPO by hand, and what they do at the ends of their range."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.preference.reference_free import Responses, cpo, orpo, simpo


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


# Per token: −6 / 3 = −2 and −8 / 2 = −4.
CHOSEN, REJECTED = (
    Responses(torch.tensor([-6.0]), torch.tensor([3])),
    Responses(torch.tensor([-8.0]), torch.tensor([2])),
)


def test_simpo_by_hand() -> None:
    # β·(−2 + 4) − γ = 0.5·2 − 0.25 = 0.75.
    found = simpo(CHOSEN, REJECTED, beta=0.5, target_margin=0.25)
    assert found.losses.tolist() == pytest.approx([-log_sigmoid(0.75)])
    assert [x.item() for x in found[1:]] == [-1.0, -2.0, 2.0]
    smoothed = simpo(CHOSEN, REJECTED, beta=0.5, target_margin=0.25, label_smoothing=0.1, sft_coef=2.0)
    assert smoothed.losses.tolist() == pytest.approx([-0.9 * log_sigmoid(0.75) - 0.1 * log_sigmoid(-0.75) + 2 * 2.0])


def test_cpo_by_hand() -> None:
    # β·(−6 + 8) = 0.2; cross-entropy of the chosen 6 / 3 = 2 nats per token.
    found = cpo(CHOSEN, REJECTED, beta=0.1, sft_coef=0.5)
    assert found.losses.tolist() == pytest.approx([-log_sigmoid(0.2) + 0.5 * 2])
    assert found.chosen_rewards.item() == pytest.approx(-0.6)


def test_orpo_by_hand() -> None:
    # Odds e^−2 / (1 − e^−2) and e^−4 / (1 − e^−4).
    odds = [math.exp(-x) / (1 - math.exp(-x)) for x in (2, 4)]
    found = orpo(CHOSEN, REJECTED, odds_coef=0.3)
    assert found.losses.tolist() == pytest.approx([2 - 0.3 * log_sigmoid(math.log(odds[0] / odds[1]))])


def test_a_certain_response_has_finite_odds_and_gradients() -> None:
    certain = torch.zeros(1, requires_grad=True)
    orpo(Responses(certain, torch.tensor([4])), REJECTED, odds_coef=0.1).losses.sum().backward()
    assert certain.grad is not None and torch.isfinite(certain.grad).all()


def test_half_precision_is_widened() -> None:
    half = Responses(torch.tensor([-6.0], dtype=torch.bfloat16), torch.tensor([3]))
    assert simpo(half, REJECTED, beta=1.0, target_margin=0.0).losses.dtype == torch.float32


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta": 1.0, "label_smoothing": 0.5}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=[*wrong][-1]):
        cpo(CHOSEN, REJECTED, **wrong)
    with pytest.raises(ValueError, match=[*wrong][-1]):
        simpo(CHOSEN, REJECTED, target_margin=0.0, **wrong)
    with pytest.raises(ValueError, match="target_margin"):
        simpo(CHOSEN, REJECTED, beta=1.0, target_margin=-1.0)
    with pytest.raises(ValueError, match="odds_coef"):
        orpo(CHOSEN, REJECTED, odds_coef=-0.1)
