from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.groups import differing, group_advantages, leave_one_out, overlong_penalty, returns_to_go

REWARDS = torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])
"""Means 3 and 5; squared deviations 4 + 1 + 9 = 14 and 0."""


def test_leave_one_out_by_hand() -> None:
    # 1 − (2 + 6)/2, 2 − (1 + 6)/2, 6 − (1 + 2)/2.
    assert leave_one_out(REWARDS)[0].tolist() == pytest.approx([-3.0, -1.5, 4.5])
    assert leave_one_out(REWARDS)[1].tolist() == [0.0, 0.0, 0.0]


def test_a_single_sample_has_no_others() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        leave_one_out(torch.ones(3, 1))


def test_group_advantages_by_hand() -> None:
    std = math.sqrt(14 / 2) + 1e-4
    assert group_advantages(REWARDS)[0].tolist() == pytest.approx([-2 / std, -1 / std, 3 / std])
    assert group_advantages(REWARDS)[1].tolist() == [0.0, 0.0, 0.0]
    assert group_advantages(REWARDS, "none")[0].tolist() == pytest.approx([-2.0, -1.0, 3.0])
    # All six: mean 4, squared deviations 9 + 4 + 4 + 1 + 1 + 1 = 20, over 5.
    batch = group_advantages(REWARDS, "batch")
    assert batch[0].tolist() == pytest.approx([x / (2 + 1e-4) for x in (-2.0, -1.0, 3.0)])


def test_the_batch_is_that_of_all_ranks() -> None:
    """Two ranks of one prompt each; this one holds the first. What a sum over ranks adds of the other is known."""
    whole = group_advantages(REWARDS, "batch")
    sums = {1: torch.tensor([3.0]), 3: torch.tensor([3.0, 15.0, 75.0])}  # its count; count, sum, sum of squares
    found = group_advantages(REWARDS[:1], "batch", lambda x: x + sums[len(x)].double())
    torch.testing.assert_close(found, whole[:1])


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        group_advantages(REWARDS, "std")  # type: ignore[arg-type]


def test_returns_to_go_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert returns_to_go(rewards, mask).tolist() == [[7.0, 6.0, 4.0], [3.0, 0.0, 0.0]]


def test_groups_of_equal_rewards_teach_nothing() -> None:
    assert differing(REWARDS).tolist() == [True, False]


def test_overlong_penalty_by_hand() -> None:
    # Nothing up to 6 of 10 tokens, then a quarter for each.
    lengths = torch.tensor([1, 6, 7, 9, 10])
    assert overlong_penalty(lengths, 10, 4).tolist() == pytest.approx([0.0, 0.0, 0.25, 0.75, 1.0])
    assert overlong_penalty(lengths, 10, 0).tolist() == [0.0] * 5
