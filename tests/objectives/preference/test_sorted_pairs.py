from __future__ import annotations

import itertools
import math

import pytest
import torch

from rlhf.objectives.preference.sorted_pairs import Sides, aot, by_rank


def test_equal_weights_match_rank_by_rank() -> None:
    found = by_rank(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([-1.0, 5.0, 0.0]), torch.full((3,), 0.5))
    assert {(int(i), int(j)): float(m) for i, j, m in zip(*found, strict=True)} == {
        (1, 0): 0.5,
        (2, 2): 0.5,
        (0, 1): 0.5,
    }


def test_entries_of_different_weights_are_matched_in_parts() -> None:
    # Left from below: weights 1, 3; right from below: 3, 1. The lowest 1 to the lowest, then 2 of 3, then 1.
    found = by_rank(torch.tensor([0.0, 9.0]), torch.tensor([7.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert {(int(i), int(j)): float(m) for i, j, m in zip(*found, strict=True)} == {
        (0, 1): 1.0,
        (1, 1): 2.0,
        (1, 0): 1.0,
    }


def test_masses_add_up_to_the_weights() -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 50, generator=draw)
    weights = 1 / torch.randint(1, 7, (50,), generator=draw)
    found = by_rank(left, right, weights)
    for side in (found.left, found.right):
        sums = torch.zeros(50, dtype=torch.float64).index_add(0, side, found.mass)
        torch.testing.assert_close(sums, weights.double(), atol=1e-12, rtol=1e-12)


def test_no_matching_costs_less() -> None:
    """What optimal transport is about: sorted is the cheapest of the 24 ways, since the loss is convex."""
    left, right = torch.tensor([0.3, -1.0, 2.0, 0.9]), torch.tensor([1.0, 0.0, -0.5, 3.0])
    costs = [-torch.nn.functional.logsigmoid(left - right[list(p)]).sum() for p in itertools.permutations(range(4))]
    assert aot(Sides(left, right), torch.ones(4), beta=1.0).sum().item() == pytest.approx(min(map(float, costs)))


def test_by_hand() -> None:
    # Sorted 0, 2 against −1, 1: both differ by 1; β = 2, ε = 0.1.
    losses = aot(Sides(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])), torch.ones(2), 2.0, 0.1)
    expected = 0.9 * math.log1p(math.exp(-2)) + 0.1 * math.log1p(math.exp(2))
    assert losses.tolist() == pytest.approx([expected] * 2)


def test_gradients_reach_both_sides_with_their_weights() -> None:
    draw = torch.Generator().manual_seed(1)
    left, right = (torch.randn(6, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(2))
    weights = torch.tensor([1.0, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u, v: (aot(Sides(u, v), weights, 0.7, 0.1) * weights).sum(), (left, right))
