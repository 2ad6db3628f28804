from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.policy import (
    cispo_loss,
    denominator,
    policy_loss,
    response_policy_loss,
    token_weights,
)

LOG = math.log


def ratios(*values: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities whose ratios to the old ones are `values`."""
    old = torch.full((len(values),), -2.0)
    return (old + torch.tensor(values).log()).requires_grad_(), old


def test_clip_higher_by_hand() -> None:
    # ε = 0.2 below, 0.5 above. A good token is credited up to 1.5, a bad one down to 0.8.
    logprobs, old = ratios(1.4, 1.6, 0.5)
    result = policy_loss(logprobs, old, torch.tensor([1.0, 1.0, -1.0]), 0.2, 0.5)
    assert result.losses.tolist() == pytest.approx([-1.4, -1.5, 0.8])
    assert result.clipped.tolist() == [False, True, True]


def test_dual_clip_by_hand() -> None:
    # c = 3: a bad token that has become 5 times as likely costs 3 instead of 5, without gradient; others as before.
    logprobs, old = ratios(5.0, 2.0, 5.0)
    result = policy_loss(logprobs, old, torch.tensor([-1.0, -1.0, 1.0]), 0.2, dual_clip=3.0)
    assert result.losses.tolist() == pytest.approx([3.0, 2.0, -1.2])
    assert result.clipped.tolist() == [True, False, True]
    result.losses.sum().backward()
    assert logprobs.grad is not None and logprobs.grad.tolist() == pytest.approx([0.0, 2.0, 0.0])


class TestResponses:
    LENGTHS = torch.tensor([2, 1])

    def test_product_by_hand(self) -> None:
        # Ratios 1.1 · 1.2 = 1.32, clipped to 1.2, and 0.9. Advantages 2 and 1.
        logprobs, old = ratios(1.1, 1.2, 0.9)
        result = response_policy_loss(logprobs, old, torch.tensor([2.0, 1.0]), self.LENGTHS, 0.2, normalised=False)
        assert result.losses.tolist() == pytest.approx([-2.4, -0.9])
        assert result.ratio.tolist() == pytest.approx([1.32, 0.9])
        assert result.clipped.tolist() == [True, False]
        assert result.approx_kl.shape == (3,)

    def test_mean_by_hand(self) -> None:
        # The geometric mean √1.32 = 1.1489 is within the clip.
        logprobs, old = ratios(1.1, 1.2, 0.9)
        result = response_policy_loss(logprobs, old, torch.tensor([2.0, 1.0]), self.LENGTHS, 0.2, normalised=True)
        assert result.losses.tolist() == pytest.approx([-2 * math.sqrt(1.32), -0.9])
        result.losses.sum().backward()
        # d(−A·ρ)/d log π_t = −A·ρ/|y|, the same for each of its tokens.
        assert logprobs.grad is not None
        assert logprobs.grad.tolist() == pytest.approx([-math.sqrt(1.32), -math.sqrt(1.32), -0.9])

    def test_at_ratio_one_the_gradient_is_reinforce(self) -> None:
        logprobs, old = ratios(1.0, 1.0, 1.0)
        response_policy_loss(
            logprobs, old, torch.tensor([2.0, -1.0]), self.LENGTHS, 0.2, normalised=False
        ).losses.sum().backward()
        assert logprobs.grad is not None and logprobs.grad.tolist() == pytest.approx([-2.0, -2.0, 1.0])


def test_cispo_by_hand() -> None:
    # Bound 1 + 0.5: weights 1.5 and 0.5; every token keeps a gradient −weight·A, the clipped one too.
    logprobs, old = ratios(4.0, 0.5)
    result = cispo_loss(logprobs, old, torch.tensor([1.0, -2.0]), 0.5)
    assert result.losses.tolist() == pytest.approx([-1.5 * (-2 + LOG(4)), 1.0 * (-2 + LOG(0.5))], rel=1e-5)
    assert result.clipped.tolist() == [True, False]
    result.losses.sum().backward()
    assert logprobs.grad is not None and logprobs.grad.tolist() == pytest.approx([-1.5, 1.0])


@pytest.mark.parametrize(
    ("aggregate", "weights", "total"),
    [
        ("token", [1.0, 1.0, 1.0, 1.0], 4.0),
        ("sequence", [1 / 3, 1 / 3, 1 / 3, 1.0], 2.0),
        ("constant", [0.125, 0.125, 0.125, 0.125], 2.0),
        ("sum", [1.0, 1.0, 1.0, 1.0], 2.0),
    ],
)
def test_weights_of_tokens_by_hand(aggregate: str, weights: list[float], total: float) -> None:
    """Two responses of 3 tokens and 1, of 8 at most."""
    found = token_weights(torch.tensor([3, 1]), torch.tensor([0, 0, 0, 1]), aggregate, 8)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(weights)
    assert denominator(4, 2, aggregate) == total  # type: ignore[arg-type]


def test_an_unknown_aggregate_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregate"):
        token_weights(torch.tensor([1]), torch.tensor([0]), "mean", 8)  # type: ignore[arg-type]
