from __future__ import annotations

import math

import pytest
import torch

from rlhf.objectives.language import bits_per_byte, nll_sum


def test_nll_is_the_negative_sum() -> None:
    assert nll_sum(torch.tensor([-1.0, -2.5, -0.5])).item() == 4.0
    assert nll_sum(torch.zeros(0)).item() == 0.0


def test_nll_sums_half_precision_in_fp32() -> None:
    # In bf16, 1,000 additions of 1/8 stop at 32, where the next representable number is 1/4 away.
    total = nll_sum(torch.full((1000,), -0.125, dtype=torch.bfloat16))
    assert total.dtype == torch.float32
    assert total.item() == 125.0


def test_gradient_raises_log_probabilities() -> None:
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    nll_sum(logprobs).backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-1.0, -1.0]


def test_bits_per_byte() -> None:
    # Each of 5 bytes is one of 8 equally likely values: 3 bits.
    assert bits_per_byte(5 * math.log(8), 5) == pytest.approx(3.0)


@pytest.mark.parametrize("n_bytes", [0, -3])
def test_bits_per_byte_refuses_an_empty_text(n_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"n_bytes is {n_bytes}"):
        bits_per_byte(1.0, n_bytes)
