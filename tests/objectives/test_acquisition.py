import math

import pytest
import torch

from rlhf.objectives.acquisition import farthest_first, pair_disagreement, pair_margin, preferences_of_members

LOG3 = math.log(3)


def test_the_members_preferences_are_bradley_terry() -> None:
    found = preferences_of_members(torch.tensor([[LOG3, 0.0], [0.0, LOG3]]))
    # σ(log 3) = 3/4, and what one member prefers by that, the other dislikes by as much.
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.75], [0.25, 0.5]], [[0.5, 0.25], [0.75, 0.5]]]))


def test_disagreement_is_the_variance_of_their_preferences() -> None:
    found = pair_disagreement(torch.tensor([[LOG3, 0.0], [0.0, LOG3], [0.0, 0.0]]))
    # Preferences 3/4, 1/4 and 1/2 have mean 1/2 and variance (1/16 + 1/16 + 0) / 3.
    torch.testing.assert_close(found, torch.tensor([[0.0, 1 / 24], [1 / 24, 0.0]]))


def test_a_score_that_is_shifted_for_a_prompt_is_no_disagreement() -> None:
    scores = torch.tensor([[1.0, -2.0, 0.5], [101.0, 98.0, 100.5]])
    torch.testing.assert_close(pair_disagreement(scores), torch.zeros(3, 3), atol=1e-6, rtol=0)


def test_one_member_has_nobody_to_disagree_with() -> None:
    with pytest.raises(ValueError, match="two members"):
        pair_disagreement(torch.zeros(1, 4))


def test_the_margin_is_that_of_the_mean_opinion() -> None:
    found = pair_margin(torch.tensor([[LOG3, 0.0, 0.0], [0.0, LOG3, 0.0]]))
    # Of the first two, 3/4 and 1/4 make a toss. Of the first and third, 3/4 and 1/2 are 1/8 from it.
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 0.125], [0.0, 0.0, 0.125], [0.125, 0.125, 0.0]]))


def test_bf16_scores_are_widened() -> None:
    scores = torch.tensor([[3.0, 1.0], [1.0, 3.0]], dtype=torch.bfloat16)
    assert pair_disagreement(scores).dtype == pair_margin(scores).dtype == torch.float32


def test_each_point_is_the_farthest_from_those_before() -> None:
    line = torch.tensor([[0.0], [1.0], [10.0], [4.0], [6.0]])
    # From 0 the farthest is 10; then 4 and 6 are both 4 away, and the first of them comes first; then 6, 2 away.
    assert farthest_first(line, 5) == [0, 2, 3, 4, 1]
    assert farthest_first(line, 2, known=[2]) == [0, 3]


def test_equal_points_are_not_taken_twice() -> None:
    assert farthest_first(torch.zeros(3, 2), 2, known=[0]) == [1, 2]
    with pytest.raises(ValueError, match="count"):
        farthest_first(torch.zeros(3, 2), 3, known=[0])
