from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.objectives.shaping import shape_scores, shaped_rewards

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
