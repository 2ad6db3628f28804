from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.objectives.ppo import entropy, policy_loss, value_loss

LOG = math.log


def ratios(*values: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities whose ratios to the old ones are `values`."""
    old = torch.full((len(values),), -2.0)
    return (old + torch.tensor(values).log()).requires_grad_(), old


class TestPolicyLoss:
    def test_by_hand(self) -> None:
        # ε = 0.2. Good tokens (A = 2): no more than 1.2 is credited, but a fall to 0.5 costs in full.
        # Bad tokens (A = −1): no more than a fall to 0.8 is credited, but a rise to 1.5 costs in full.
        logprobs, old = ratios(1.5, 0.5, 1.5, 0.5, 1.1)
        result = policy_loss(logprobs, old, torch.tensor([2.0, 2.0, -1.0, -1.0, 2.0]), 0.2)
        assert result.losses.tolist() == pytest.approx([-2.4, -1.0, 1.5, 0.8, -2.2])
        assert result.clipped.tolist() == [True, False, False, True, False]
        assert result.ratio.tolist() == pytest.approx([1.5, 0.5, 1.5, 0.5, 1.1])
        # k3 of KL(old ‖ new): (ρ − 1) − log ρ.
        assert result.approx_kl.tolist() == pytest.approx([r - 1 - LOG(r) for r in (1.5, 0.5, 1.5, 0.5, 1.1)], abs=1e-6)

    def test_gradient_raises_good_tokens_and_is_0_where_clipped(self) -> None:
        logprobs, old = ratios(1.0, 1.0, 1.5, 0.5)
        policy_loss(logprobs, old, torch.tensor([2.0, -1.0, 2.0, -1.0]), 0.2).losses.sum().backward()
        # −A·ρ at ρ = 1: the plain policy gradient.
        assert logprobs.grad is not None
        assert logprobs.grad.tolist() == pytest.approx([-2.0, 1.0, 0.0, 0.0])

    def test_gradient_is_of_the_policy_alone(self) -> None:
        logprobs, old = ratios(1.1)
        old, advantages = old.requires_grad_(), torch.tensor([1.0], requires_grad=True)
        result = policy_loss(logprobs, old, advantages, 0.2)
        result.losses.sum().backward()
        assert logprobs.grad is not None
        assert old.grad is None and advantages.grad is None
        assert not result.ratio.requires_grad and not result.approx_kl.requires_grad

    def test_nothing_is_clipped_in_the_first_epoch(self) -> None:
        logprobs, old = ratios(1.0, 1.0)
        result = policy_loss(logprobs, old, torch.tensor([3.0, -3.0]), 0.0)
        assert result.losses.tolist() == pytest.approx([-3.0, 3.0])
        assert not result.clipped.any()
        assert result.approx_kl.tolist() == [0.0, 0.0]

    @given(st.floats(-3, 3), st.floats(-5, 5), st.floats(0, 0.9))
    def test_clipping_is_pessimistic(self, log_ratio: float, advantage: float, epsilon: float) -> None:
        """The clipped loss is never below the plain one: no credit is given for going far."""
        old, new = torch.zeros(1, dtype=torch.float64), torch.tensor([log_ratio], dtype=torch.float64)
        loss = policy_loss(new, old, torch.tensor([advantage], dtype=torch.float64), epsilon).losses.item()
        assert loss >= -advantage * math.exp(log_ratio) - 1e-12


class TestValueLoss:
    def test_by_hand(self) -> None:
        # Old value 0, c = 0.2. Towards the return from 0 to 1, only 0.2 is credited: ½·(0.2 − 2)² = 1.62.
        # Away from it, to −1, the plain loss is the greater: ½·(−1 − 2)² = 4.5. Within the range: ½·(0.1 − 2)².
        values = torch.tensor([1.0, -1.0, 0.1], requires_grad=True)
        result = value_loss(values, torch.zeros(3), torch.full((3,), 2.0), 0.2)
        assert result.losses.tolist() == pytest.approx([1.62, 4.5, 1.805])
        assert result.clipped.tolist() == [True, False, False]
        result.losses.sum().backward()
        assert values.grad is not None
        assert values.grad.tolist() == pytest.approx([0.0, -3.0, -1.9])

    def test_without_clipping(self) -> None:
        result = value_loss(torch.tensor([1.0]), torch.zeros(1), torch.tensor([2.0]), None)
        assert result.losses.tolist() == [0.5]
        assert result.clipped.tolist() == [False]

    def test_gradient_is_of_the_critic_alone(self) -> None:
        values, old, returns = (torch.tensor([x], requires_grad=True) for x in (0.1, 0.0, 2.0))
        value_loss(values, old, returns, 0.2).losses.sum().backward()
        assert values.grad is not None
        assert old.grad is None and returns.grad is None

    @given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 5))
    def test_clipping_is_pessimistic(self, value: float, old: float, target: float, clip: float) -> None:
        v, o, r = (torch.tensor([x], dtype=torch.float64) for x in (value, old, target))
        assert value_loss(v, o, r, clip).losses.item() >= value_loss(v, o, r, None).losses.item()


class TestEntropy:
    def test_by_hand(self) -> None:
        logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [LOG(0.5) + 9, LOG(0.25) + 9, LOG(0.25) + 9, -math.inf]])
        assert entropy(logits).tolist() == pytest.approx([LOG(4), 1.5 * LOG(2)])

    def test_gradient(self) -> None:
        logits = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        assert torch.autograd.gradcheck(entropy, logits)

    def test_gradient_is_finite_where_a_token_cannot_be_said(self) -> None:
        logits = torch.tensor([1.0, 0.0, -math.inf], requires_grad=True)
        entropy(logits).backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        # Entropy grows by flattening: the likelier token's logit must fall.
        assert logits.grad[0] < -0.1

    def test_half_precision(self) -> None:
        value = entropy(torch.zeros(50_257, dtype=torch.bfloat16))
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(LOG(50_257), rel=1e-5)
