from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlhf.objectives.advantages import explained_variance, gae, whiten
from rlhf.objectives.numeric import moments

REWARDS = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 0.0]])
VALUES = torch.tensor([[0.5, 1.0, 2.0], [1.0, 0.0, 0.0]])
MASK = torch.tensor([[True, True, True], [True, False, False]])

seeds = st.integers(0, 2**31)


def random_episodes(seed: int, episodes: int = 4, width: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(episodes, width, generator=generator, dtype=torch.float64)
    values = torch.randn(episodes, width, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, width + 1, (episodes, 1), generator=generator)
    return rewards, values, torch.arange(width) < lengths


class TestGAE:
    def test_by_hand(self) -> None:
        # γ = 0.5, λ = 0.5, so γλ = 0.25. δ: 4 − 2 = 2;  2 + 0.5·2 − 1 = 2;  1 + 0.5·1 − 0.5 = 1.
        # A: 2;  2 + 0.25·2 = 2.5;  1 + 0.25·2.5 = 1.625. The second row: 3 − 1 = 2.
        advantages, returns = gae(REWARDS, VALUES, MASK, gamma=0.5, lam=0.5)
        assert advantages.tolist() == [[1.625, 2.5, 2.0], [2.0, 0.0, 0.0]]
        assert returns.tolist() == [[2.125, 3.5, 4.0], [3.0, 0.0, 0.0]]

    def test_lambda_0_is_one_step_ahead(self) -> None:
        advantages, _ = gae(REWARDS, VALUES, MASK, gamma=1.0, lam=0.0)
        assert advantages[0].tolist() == [1 + 1.0 - 0.5, 2 + 2.0 - 1.0, 4 - 2.0]

    @given(seeds)
    def test_lambda_1_returns_are_discounted_sums(self, seed: int) -> None:
        """At λ = 1 values cancel: returns are Σ γᵏ·r, whatever the critic said."""
        rewards, values, mask = random_episodes(seed)
        _, returns = gae(rewards, values, mask, gamma=0.9, lam=1.0)
        for row, row_mask, row_returns in zip(rewards, mask, returns, strict=True):
            n = int(row_mask.sum())
            expected = [sum(0.9 ** (k - t) * row[k].item() for k in range(t, n)) for t in range(n)]
            assert row_returns[:n].tolist() == pytest.approx(expected)

    def test_an_exact_critic_leaves_no_advantage(self) -> None:
        rewards = torch.tensor([[0.0, 0.0, 5.0]])
        advantages, _ = gae(rewards, torch.full((1, 3), 5.0), torch.ones(1, 3), gamma=1.0, lam=0.95)
        assert advantages.tolist() == [[0.0, 0.0, 0.0]]

    @given(seeds, st.sampled_from([0.0, 1e30, math.inf, math.nan]))
    def test_what_is_under_the_mask_does_not_matter(self, seed: int, junk: float) -> None:
        rewards, values, mask = random_episodes(seed)
        clean = gae(rewards * mask, values * mask, mask, 0.99, 0.95)
        dirty = gae(rewards.masked_fill(~mask, junk), values.masked_fill(~mask, junk), mask, 0.99, 0.95)
        assert torch.equal(clean[0], dirty[0]) and torch.equal(clean[1], dirty[1])
        assert not clean[0][~mask].any() and not clean[1][~mask].any()

    @given(seeds, st.integers(1, 4))
    def test_masked_positions_are_stepped_over(self, seed: int, gap: int) -> None:
        """A gap, or padding in front, gives the same advantages as no gap."""
        rewards, values, _ = random_episodes(seed)
        full = torch.ones_like(rewards, dtype=torch.bool)
        expected, _ = gae(rewards, values, full, 0.9, 0.8)

        def spread(x: Tensor) -> Tensor:
            junk = torch.full((4, gap), 7.0)
            return torch.cat([junk, x[:, :2], junk, x[:, 2:]], dim=1)

        mask = torch.cat(
            [torch.zeros(4, gap), torch.ones(4, 2), torch.zeros(4, gap), torch.ones(4, rewards.shape[1] - 2)], dim=1
        ).bool()
        advantages, _ = gae(spread(rewards), spread(values), mask, 0.9, 0.8)
        torch.testing.assert_close(advantages[mask].view_as(expected), expected)

    def test_inputs_stay_and_no_gradient_flows(self) -> None:
        values = VALUES.clone().requires_grad_()
        advantages, returns = gae(REWARDS, values, MASK, 1.0, 0.95)
        assert not advantages.requires_grad and not returns.requires_grad
        assert torch.equal(values.detach(), VALUES)

    def test_no_tokens_at_all(self) -> None:
        advantages, returns = gae(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0), 1.0, 0.95)
        assert advantages.shape == returns.shape == (2, 0)


class TestWhiten:
    def test_by_hand(self) -> None:
        # 1 and 3: mean 2, population variance 1 (the sample's, over n − 1, would be 2).
        x, mask = torch.tensor([[1.0, 3.0, 50.0]]), torch.tensor([[True, True, False]])
        assert whiten(x, mask).tolist() == [[pytest.approx(-1), pytest.approx(1), 0.0]]
        assert whiten(x, mask, mean_shift=False).tolist() == [[pytest.approx(1), pytest.approx(3), 0.0]]
        assert x.tolist() == [[1.0, 3.0, 50.0]]

    @settings(max_examples=50)
    @given(seeds, st.sampled_from([0.0, 1e30, math.nan]))
    def test_mean_0_and_variance_1_whatever_is_masked(self, seed: int, junk: float) -> None:
        x, _, mask = random_episodes(seed)
        whitened = whiten(x.masked_fill(~mask, junk), mask)
        assert not whitened[~mask].any()
        mean, variance = moments(whitened, mask)
        assert mean.item() == pytest.approx(0, abs=1e-6)
        if mask.sum() > 1:
            assert variance.item() == pytest.approx(1, rel=1e-3)

    def test_equal_entries_become_0(self) -> None:
        assert whiten(torch.full((1, 3), 7.0), torch.ones(1, 3)).tolist() == [[0.0, 0.0, 0.0]]

    def test_statistics_of_all_ranks(self) -> None:
        """Two halves whitened with the statistics of the whole are the whole, whitened."""
        x, _, mask = random_episodes(0)
        whole = whiten(x, mask)
        statistics = moments(x, mask)
        halves = [whiten(x[:2], mask[:2], statistics=statistics), whiten(x[2:], mask[2:], statistics=statistics)]
        torch.testing.assert_close(torch.cat(halves), whole)
        assert not torch.allclose(whiten(x[:2], mask[:2]), whole[:2], atol=1e-3)

    def test_statistics_may_be_plain_numbers(self) -> None:
        whitened = whiten(torch.tensor([[5.0]]), torch.ones(1, 1), statistics=(torch.tensor(1.0), torch.tensor(4.0)))
        assert whitened.item() == pytest.approx(2.0)

    def test_fp32_comes_back(self) -> None:
        assert whiten(torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, 2)).dtype == torch.float32
        assert whiten(torch.ones(1, 2), torch.ones(1, 2)).dtype == torch.float32


class TestExplainedVariance:
    RETURNS = torch.tensor([[1.0, 2.0, 6.0, 99.0]])
    MASK = torch.tensor([[True, True, True, False]])

    def value(self, values: list[float]) -> float:
        return explained_variance(torch.tensor([values]), self.RETURNS, self.MASK).item()

    def test_by_hand(self) -> None:
        assert self.value([1.0, 2.0, 6.0, math.nan]) == 1.0
        assert self.value([3.0, 3.0, 3.0, 0.0]) == pytest.approx(0.0)
        # A constant error costs nothing; half of each deviation leaves a quarter of the variance.
        assert self.value([11.0, 12.0, 16.0, 0.0]) == pytest.approx(1.0)
        assert self.value([0.5, 1.0, 3.0, 0.0]) == pytest.approx(0.75)
        assert self.value([-1.0, -2.0, -6.0, 0.0]) == pytest.approx(1 - 4)

    def test_nothing_to_explain(self) -> None:
        value = explained_variance(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 3.0]]), torch.ones(1, 2))
        assert math.isnan(value.item())

    def test_over_ranks(self) -> None:
        """Each variance is taken over both ranks: here twice the same entries, so that nothing changes but the sums."""
        calls: list[Tensor] = []

        def twice(sums: Tensor) -> Tensor:
            calls.append(sums)
            return sums * 2

        value = explained_variance(torch.tensor([[0.5, 1.0, 3.0, 0.0]]), self.RETURNS, self.MASK, all_reduce=twice)
        assert value.item() == pytest.approx(0.75)
        assert [int(sums[0]) for sums in calls] == [3, 3]
