from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.objectives.kl import AdaptiveKL, FixedKL, full_kl, k1, k2, k3

LOG = math.log
POLICY = torch.tensor([0.5, 0.25, 0.25])
REFERENCE = torch.tensor([0.25, 0.25, 0.5])
# 0.5·log(0.5/0.25) + 0.25·log 1 + 0.25·log(0.25/0.5) = 0.5·log 2 − 0.25·log 2
KL = 0.25 * LOG(2)


class TestEstimators:
    def test_by_hand(self) -> None:
        policy, reference = torch.tensor([-1.0]), torch.tensor([-3.0])
        assert k1(policy, reference).item() == 2.0
        assert k2(policy, reference).item() == 2.0  # ½·2²
        assert k3(policy, reference).item() == pytest.approx(math.exp(-2) - 1 + 2)

    def test_k1_and_k3_are_unbiased(self) -> None:
        """Their expectation over the policy's tokens is the exact KL; that of k2 is not."""
        logs = POLICY.log(), REFERENCE.log()
        assert (POLICY * k1(*logs)).sum().item() == pytest.approx(KL, abs=1e-7)
        assert (POLICY * k3(*logs)).sum().item() == pytest.approx(KL, abs=1e-7)
        assert (POLICY * k2(*logs)).sum().item() == pytest.approx(0.5 * 0.75 * LOG(2) ** 2, abs=1e-7)

    def test_k3_keeps_its_digits_near_equality(self) -> None:
        # (e^x − 1) − x loses everything to rounding in fp32 when exp and 1 are subtracted; the value is x²/2.
        x = 1e-3
        assert k3(torch.tensor([0.0]), torch.tensor([x])).item() == pytest.approx(x * x / 2, rel=1e-3)

    @given(st.floats(-20, 0), st.floats(-20, 0))
    def test_k2_and_k3_are_never_negative(self, policy: float, reference: float) -> None:
        a, b = torch.tensor([policy]), torch.tensor([reference])
        assert k2(a, b).item() >= 0
        assert k3(a, b).item() >= 0

    def test_half_precision_is_widened_before_subtracting(self) -> None:
        # 99.75 has 9 significant bits, one more than bf16 holds.
        assert k1(torch.tensor([-100.0]).bfloat16(), torch.tensor([-0.25]).bfloat16()).item() == -99.75


class TestFullKL:
    def test_by_hand(self) -> None:
        # Logits are log-probabilities up to a constant of each position.
        kl = full_kl(torch.stack([POLICY.log() + 3, POLICY.log()]), torch.stack([REFERENCE.log(), POLICY.log() - 7]))
        assert kl.tolist() == pytest.approx([KL, 0.0], abs=1e-6)

    def test_it_is_of_the_policy_to_the_reference(self) -> None:
        a, b = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
        assert full_kl(a.log(), b.log()).item() == pytest.approx(0.9 * LOG(1.8) + 0.1 * LOG(0.2))
        assert full_kl(b.log(), a.log()).item() == pytest.approx(0.5 * LOG(1 / 1.8) + 0.5 * LOG(5))

    def test_gradient(self) -> None:
        logits = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        reference = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert torch.autograd.gradcheck(lambda x: full_kl(x, reference), logits)

    def test_tokens_that_cannot_be_said_add_nothing(self) -> None:
        logits = torch.tensor([LOG(0.5), LOG(0.5), -math.inf], requires_grad=True)
        for last in (-math.inf, 0.0):
            reference = torch.tensor([LOG(0.25), LOG(0.75), last])
            kl = full_kl(logits, reference)
            total = 1.0 if last == -math.inf else 2.0  # an unbanned third token takes half of the reference
            expected = 0.5 * LOG(0.5 / (0.25 / total)) + 0.5 * LOG(0.5 / (0.75 / total))
            assert kl.item() == pytest.approx(expected, abs=1e-6)
            (gradient,) = torch.autograd.grad(kl, logits)
            assert torch.isfinite(gradient).all()
            assert gradient[:2].abs().max() > 0.01

    def test_what_the_reference_cannot_say_costs_everything(self) -> None:
        assert full_kl(torch.zeros(2), torch.tensor([0.0, -math.inf])).item() == math.inf


class TestControllers:
    def test_fixed_stays(self) -> None:
        controller = FixedKL(0.05)
        assert controller.update(kl=100.0, n=64) == 0.05
        assert controller.value == 0.05

    @pytest.mark.parametrize(
        ("kl", "factor"),
        [
            (6.6, 1 + 0.1 * 64 / 1000),  # 10% above the target of 6
            (5.4, 1 - 0.1 * 64 / 1000),
            (60.0, 1 + 0.2 * 64 / 1000),  # clipped
            (0.0, 1 - 0.2 * 64 / 1000),
            (6.0, 1.0),
        ],
    )
    def test_adaptive_by_hand(self, kl: float, factor: float) -> None:
        controller = AdaptiveKL(0.2, target=6.0, horizon=1000)
        assert controller.update(kl, n=64) == pytest.approx(0.2 * factor)
        assert controller.value == pytest.approx(0.2 * factor)

    def test_adaptive_finds_the_price_that_holds_the_target(self) -> None:
        # A policy whose KL is 3/coefficient has KL 6 at a coefficient of ½.
        controller = AdaptiveKL(0.05, target=6.0, horizon=1000)
        for _ in range(400):
            controller.update(3 / controller.value, n=64)
        assert controller.value == pytest.approx(0.5, rel=1e-3)

    @pytest.mark.parametrize("make", [lambda v: FixedKL(v), lambda v: AdaptiveKL(v, target=6.0, horizon=1000)])
    def test_state_goes_round(self, make: type[FixedKL]) -> None:
        old, new = make(0.3), make(0.1)
        new.load_state_dict(old.state_dict())
        assert new.value == 0.3
        assert new.update(9.0, 10) == old.update(9.0, 10)

    @pytest.mark.parametrize("name", ["value", "target", "horizon"])
    def test_adaptive_refuses_what_is_not_positive(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} is 0"):
            AdaptiveKL(**({"value": 0.1, "target": 6.0, "horizon": 1000.0} | {name: 0.0}))

    def test_adaptive_refuses_a_kl_that_is_not_finite(self) -> None:
        controller = AdaptiveKL(0.1, target=6.0, horizon=1000)
        with pytest.raises(ValueError, match="kl is nan"):
            controller.update(math.nan, 10)
        assert controller.value == 0.1

    def test_adaptive_refuses_to_fall_to_0(self) -> None:
        with pytest.raises(ValueError, match="horizon is 100; with 500 episodes it must be above 100"):
            AdaptiveKL(0.1, target=6.0, horizon=100).update(0.0, 500)
