from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.objectives.shaping import (
    RunningMoments,
    distances,
    length_penalty,
    ngrams,
    repeated_share,
    shape_scores,
    shaped_rewards,
)

LOGPROBS = torch.tensor([[-1.0, -2.0, -1.5], [-0.5, -3.0, -1.0]])
REFERENCE = torch.tensor([[-1.5, -1.0, -1.5], [-2.5, -3.0, -7.0]])
MASK = torch.tensor([[True, True, True], [True, False, False]])


class TestShapedRewards:
    def test_by_hand(self) -> None:
        # k1: 0.5, −1, 0 | 2. Times −0.1; the score joins the last response token.
        rewards = shaped_rewards(torch.tensor([4.0, 7.0]), LOGPROBS, REFERENCE, MASK, kl_coef=0.1)
        torch.testing.assert_close(rewards, torch.tensor([[-0.05, 0.1, 4.0], [-0.2 + 7.0, 0.0, 0.0]]))

    def test_a_response_more_likely_than_in_the_reference_pays(self) -> None:
        rewards = shaped_rewards(torch.zeros(1), torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), torch.ones(1, 1), 0.5)
        assert rewards.item() == -0.5

    def test_total_is_score_minus_the_price_of_kl(self) -> None:
        total = shaped_rewards(torch.tensor([4.0, 7.0]), LOGPROBS, REFERENCE, MASK, kl_coef=0.3).sum(1)
        assert total.tolist() == pytest.approx([4.0 - 0.3 * -0.5, 7.0 - 0.3 * 2.0])

    def test_last_token_where_masks_have_gaps(self) -> None:
        mask = torch.tensor([[False, True, True, False]])
        rewards = shaped_rewards(torch.tensor([3.0]), torch.zeros(1, 4), torch.zeros(1, 4), mask, 0.1)
        assert rewards.tolist() == [[0.0, 0.0, 3.0, 0.0]]

    def test_a_row_without_tokens_gets_nothing(self) -> None:
        mask = torch.tensor([[False, False]])
        assert shaped_rewards(torch.tensor([3.0]), torch.zeros(1, 2), torch.ones(1, 2), mask, 0.1).tolist() == [
            [0.0, 0.0]
        ]

    def test_no_gradient(self) -> None:
        logprobs = LOGPROBS.clone().requires_grad_()
        assert not shaped_rewards(torch.zeros(2), logprobs, REFERENCE, MASK, 0.1).requires_grad

    @given(st.sampled_from([0.0, 1e30, -math.inf, math.nan]))
    def test_what_is_under_the_mask_does_not_matter(self, junk: float) -> None:
        scores = torch.tensor([4.0, 7.0])
        clean = shaped_rewards(scores, LOGPROBS, REFERENCE, MASK, 0.1)
        logprobs, reference = LOGPROBS.masked_fill(~MASK, junk), REFERENCE.masked_fill(~MASK, junk)
        before = logprobs.clone()
        assert torch.equal(shaped_rewards(scores, logprobs, reference, MASK, 0.1), clean)
        assert torch.equal(logprobs.nan_to_num(), before.nan_to_num())


class TestShapeScores:
    def test_by_hand(self) -> None:
        scores, finished = torch.tensor([7.0, 7.0, -9.0, 1.0]), torch.tensor([True, False, False, True])
        shaped = shape_scores(scores, finished, missing_eos_penalty=1.0, clip=5.0)
        # Clipped first: the penalty still counts where the score was far out.
        assert shaped.tolist() == [5.0, 4.0, -6.0, 1.0]
        assert scores.tolist() == [7.0, 7.0, -9.0, 1.0]

    def test_without_clipping(self) -> None:
        shaped = shape_scores(torch.tensor([70.0, 70.0]), torch.tensor([1, 0]), missing_eos_penalty=0.5, clip=None)
        assert shaped.tolist() == [70.0, 69.5]


class TestRunningMoments:
    def test_by_hand(self) -> None:
        moments = RunningMoments()
        moments.update(torch.tensor([1.0, 3.0]))
        moments.update(torch.tensor([5.0, 7.0]))
        # 1, 3, 5, 7: mean 4, Σ(x − 4)² = 9 + 1 + 1 + 9 = 20, variance 5.
        assert (moments.count, moments.mean, moments.squares) == (4.0, 4.0, 20.0)
        scores = torch.tensor([4.0, 9.0])
        torch.testing.assert_close(moments.apply(scores, "whiten"), torch.tensor([0.0, 5 / 5**0.5]))
        torch.testing.assert_close(moments.apply(scores, "scale"), torch.tensor([4 / 5**0.5, 9 / 5**0.5]))
        assert moments.apply(scores, "none").tolist() == [4.0, 9.0]

    def test_how_scores_are_cut_does_not_matter(self) -> None:
        scores = torch.randn(60, generator=torch.Generator().manual_seed(0)) * 3 + 1000
        whole, parts = RunningMoments(), RunningMoments()
        whole.update(scores)
        for part in scores.split([1, 17, 2, 40]):
            parts.update(part)
        for name, value in whole.state_dict().items():
            assert parts.state_dict()[name] == pytest.approx(value, rel=1e-12)
        assert whole.deviation == pytest.approx(float(scores.double().std(correction=0)), rel=1e-12)

    def test_sums_over_ranks(self) -> None:
        """Two ranks, one of them without scores, find what one process finds."""
        scores = torch.tensor([1.0, 2.0, 6.0])
        alone = RunningMoments()
        alone.update(scores)
        mine = [[3.0, 9.0], 14.0]  # the other rank's (count, sum) and Σ(x − 3)²: 4 + 1 + 9

        def all_reduce(sent: torch.Tensor) -> torch.Tensor:
            return sent + torch.tensor(mine.pop(0), dtype=torch.float64)

        empty = RunningMoments()
        empty.update(torch.tensor([]), all_reduce)
        assert empty.state_dict() == alone.state_dict() and not mine

    def test_before_the_first_update_and_without_spread_nothing_changes(self) -> None:
        moments, scores = RunningMoments(), torch.tensor([3.0, -1.0])
        assert moments.apply(scores, "whiten").tolist() == [3.0, -1.0]
        moments.update(torch.tensor([0.1, 0.1, 0.1]))
        torch.testing.assert_close(moments.apply(scores, "whiten"), torch.tensor([2.9, -1.1]))
        assert moments.apply(scores, "scale").tolist() == [3.0, -1.0]

    def test_what_is_not_finite_does_not_stay(self) -> None:
        moments = RunningMoments()
        moments.update(torch.tensor([1.0, math.nan, 3.0, math.inf]))
        assert moments.state_dict() == {"count": 2.0, "mean": 2.0, "squares": 2.0}
        moments.update(torch.tensor([math.nan]))
        assert moments.count == 2.0

    def test_state_comes_back(self) -> None:
        moments, other = RunningMoments(), RunningMoments()
        moments.update(torch.tensor([1.0, 2.5, 3.0]))
        other.load_state_dict(moments.state_dict())
        assert torch.equal(other.apply(torch.tensor([7.0]), "whiten"), moments.apply(torch.tensor([7.0]), "whiten"))


def test_length_penalty_by_hand() -> None:
    assert length_penalty(torch.tensor([2, 5, 9]), 0.5, 5).tolist() == [0.0, 0.0, -2.0]


class TestNgrams:
    def test_by_hand(self) -> None:
        assert ngrams([1, 2, 3], 2) == [(1, 2), (2, 3)]
        assert ngrams([1, 2], 3) == [(1, 2)] and ngrams([], 3) == []

    def test_repeated_share(self) -> None:
        # 1 2, 2 1, 1 2, 2 1: two different ones of four.
        assert repeated_share([1, 2, 1, 2, 1], 2) == 0.5
        assert repeated_share([1, 1, 1], 1) == pytest.approx(2 / 3)
        assert repeated_share([], 2) == repeated_share([1, 2, 3], 2) == 0.0

    def test_distances(self) -> None:
        # {1,2} and {2,3} share one of three; {4} shares none: 1 − (1/3 + 0)/2 = 5/6, and 1 − 0 = 1.
        assert distances([[1, 2], [2, 3], [4]], 1) == pytest.approx([5 / 6, 5 / 6, 1.0])
        assert distances([[1, 2], [1, 2]], 2) == [0.0, 0.0] and distances([[], []], 2) == [0.0, 0.0]
        assert distances([[], [1]], 1) == [1.0, 1.0] and distances([[5]], 1) == [0.0]
