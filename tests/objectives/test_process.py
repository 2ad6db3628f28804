"""Process rewards by hand: losses of steps, their combined score, and where it is paid."""

from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.process import (
    by_response,
    combined_steps,
    credit_to_steps,
    first_wrong,
    running_scores,
    score_changes,
    step_losses,
)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


LOGITS = torch.tensor([2.0, -1.0, 0.5, 3.0])
"""Three steps of response 0, and one of response 1."""
RESPONSE = torch.tensor([0, 0, 0, 1])
P = [sigmoid(2), sigmoid(-1), sigmoid(0.5), sigmoid(3)]


def test_losses_and_gradients_by_hand() -> None:
    logits, labels = LOGITS.clone().requires_grad_(), torch.tensor([1.0, 0.0, 0.25, 0.0])
    losses = step_losses(logits, labels)
    expected = [
        -math.log(P[0]),
        -math.log(1 - P[1]),
        -0.25 * math.log(P[2]) - 0.75 * math.log(1 - P[2]),
        3 - math.log(P[3]),
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([p - y for p, y in zip(P, labels.tolist(), strict=True)], rel=1e-5)


def test_a_loss_far_out_is_neither_infinite_nor_nothing() -> None:
    found = step_losses(torch.tensor([-300.0, 60.0]), torch.tensor([1.0, 1.0]))
    assert found.tolist() == pytest.approx([300.0, math.exp(-60)], rel=1e-4)
    assert step_losses(torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0])).dtype == torch.float32


SCORES = {
    "min": ([P[0], P[1], P[1]], P[3]),
    "product": ([P[0], P[0] * P[1], P[0] * P[1] * P[2]], P[3]),
    "mean": ([P[0], (P[0] + P[1]) / 2, (P[0] + P[1] + P[2]) / 3], P[3]),
    "last": (P[:3], P[3]),
}


@pytest.mark.parametrize("how", SCORES)
def test_the_score_of_steps_and_what_each_changes(how: str) -> None:
    so_far, other = SCORES[how]
    padded = by_response(LOGITS, RESPONSE, 2, 0.0)
    assert running_scores(padded, how)[0].tolist() == pytest.approx(so_far)  # type: ignore[arg-type]
    scores = combined_steps(LOGITS, RESPONSE, 2, how)  # type: ignore[arg-type]
    assert scores.tolist() == pytest.approx([so_far[-1], other])
    changes = score_changes(LOGITS, RESPONSE, 2, how)  # type: ignore[arg-type]
    assert changes.tolist() == pytest.approx([so_far[0], so_far[1] - so_far[0], so_far[2] - so_far[1], other], abs=1e-6)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="how is 'max'"):
        running_scores(LOGITS[None], "max")  # type: ignore[arg-type]


def test_the_first_wrong_step() -> None:
    wrong = torch.tensor([False, True, True, False, True])
    assert first_wrong(wrong, torch.tensor([0, 0, 0, 1, 2]), 3).tolist() == [1, -1, 0]
    assert first_wrong(wrong[:0], RESPONSE[:0], 2).tolist() == [-1, -1]


def test_credit_moves_from_the_end_to_the_steps_and_adds_up_to_nothing() -> None:
    changes = torch.tensor([[0.0, 0.7, 0.0, -0.2], [0.4, 0.1, 9.0, 9.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    found = credit_to_steps(changes, mask)
    assert found.tolist() == [pytest.approx([0.0, 0.7, 0.0, -0.7]), pytest.approx([0.4, -0.4, 0.0, 0.0])]
