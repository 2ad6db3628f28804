"""Options of the reward model's loss, by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from rlhf.objectives.preference.bradley_terry import bradley_terry
from rlhf.objectives.preference.reward_losses import pair_losses, plackett_luce

CHOSEN, REJECTED = torch.tensor([2.0, 0.5]), torch.tensor([1.0, 1.0])


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def test_plain_is_bradley_terry() -> None:
    assert torch.equal(pair_losses(CHOSEN, REJECTED), bradley_terry(CHOSEN, REJECTED))


def test_all_of_it_by_hand() -> None:
    # Differences 1 and −0.5, less margins 0.25 and 0.5: 0.75 and −1; sums 3 and 1.5.
    found = pair_losses(CHOSEN, REJECTED, margin=torch.tensor([0.25, 0.5]), label_smoothing=0.1, center_coef=0.01)
    assert found.tolist() == pytest.approx(
        [
            -0.9 * log_sigmoid(0.75) - 0.1 * log_sigmoid(-0.75) + 0.01 * 9,
            -0.9 * log_sigmoid(-1) - 0.1 * log_sigmoid(1) + 0.01 * 2.25,
        ]
    )


def test_where_a_margin_moves_the_optimum() -> None:
    """Of 10 annotators 8 prefer a, 2 prefer b, and each says «better by 0.5».

    With x = exp(a's score − b's), the loss is least where 0.8/(1 + x·e^−½) = 0.2/(1 + e^−½/x), that is
    0.2·e^−½·x² − 0.6·x − 0.8·e^−½ = 0, whose positive root is 5.6537. Without margins it is 0.8/0.2 = 4.
    """
    for margin, root in ((0.0, 4.0), (0.5, 5.6537)):
        scores = torch.tensor([math.log(root), 0.0], dtype=torch.float64, requires_grad=True)
        sides = torch.tensor([[0, 1], [1, 0]])
        losses = pair_losses(scores[sides[:, 0]], scores[sides[:, 1]], margin=torch.full((2,), margin).double())
        (losses * torch.tensor([0.8, 0.2]).double()).sum().backward()
        assert scores.grad is not None and scores.grad.abs().max() < 1e-5


@pytest.mark.parametrize("wrong", [{"label_smoothing": 0.5}, {"center_coef": -1.0}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pair_losses(CHOSEN, REJECTED, **wrong)


def test_a_ranking_is_as_likely_as_drawing_it_without_replacement() -> None:
    scores = torch.tensor([0.3, -1.0, 2.0])
    total = 0.0
    for order in itertools.permutations(range(3)):
        pairs = torch.tensor([(order[a], order[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
        found = plackett_luce(scores, pairs, torch.zeros(3, dtype=torch.long))
        left, expected = list(order), 1.0
        for response in order:
            expected *= math.exp(scores[response]) / sum(math.exp(scores[other]) for other in left)
            left.remove(response)
        assert found.losses.sum().item() == pytest.approx(-math.log(expected), abs=1e-6)
        assert found.weights[list(order)].tolist() == [0.5, 0.5, 0.0]
        total += expected
    assert total == pytest.approx(1)


def test_rows_are_apart_ties_do_not_compete_and_two_are_bradley_terry() -> None:
    # Row 0: 0 before the tied 1 and 2; row 1: 4 before 3.
    scores = torch.tensor([1.0, 0.5, -0.5, 0.2, 0.9], requires_grad=True)
    found = plackett_luce(scores, torch.tensor([(0, 1), (0, 2), (4, 3)]), torch.tensor([0, 0, 0, 1, 1]))
    first = math.log(math.exp(1) + math.exp(0.5) + math.exp(-0.5)) - 1
    assert found.losses[[0, 4]].tolist() == pytest.approx([first, -log_sigmoid(0.7)])
    assert found.weights.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    (found.losses * found.weights).sum().backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert plackett_luce(torch.zeros(0), torch.zeros(0, 2, dtype=torch.long), torch.zeros(0)).losses.shape == (0,)
