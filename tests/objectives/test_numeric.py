from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlhf.objectives.numeric import keep, moments, widen


def test_widen() -> None:
    for narrow in (torch.bfloat16, torch.float16, torch.int64, torch.bool):
        assert widen(torch.ones(1, dtype=narrow)).dtype == torch.float32
    assert widen(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


def test_keep_stops_values_and_gradients() -> None:
    x = torch.tensor([1.0, math.nan, math.inf], requires_grad=True)
    kept = keep(torch.tensor([True, False, False]), x)
    assert kept.tolist() == [1.0, 0.0, 0.0]
    kept.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


def test_moments_by_hand() -> None:
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, over 3 and not over 2.
    mean, variance = moments(torch.tensor([[1.0, 2.0], [6.0, math.nan]]), torch.tensor([[1, 1], [1, 0]]))
    assert (mean.item(), variance.item()) == pytest.approx((3.0, 14 / 3))


def test_moments_far_from_0() -> None:
    # fp32 would lose a variance of 1 beside 10⁸.
    _, variance = moments(torch.tensor([10_000.0, 10_002.0]), torch.ones(2))
    assert variance.item() == pytest.approx(1.0, rel=1e-6)


def test_moments_over_ranks() -> None:
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([6.0])
    sums: list[Tensor] = []

    def keep_sums(x: Tensor) -> Tensor:
        sums.append(x)
        return x

    moments(second, torch.ones(1), keep_sums)
    mean, variance = moments(first, torch.ones(2), lambda x: x + sums[0])
    assert (mean.item(), variance.item()) == pytest.approx((3.0, 14 / 3))
    # A rank without an entry gets the others' moments.
    mean, variance = moments(first, torch.zeros(2), lambda x: x + sums[0])
    assert (mean.item(), variance.item()) == pytest.approx((6.0, 0.0))


def test_moments_of_nothing() -> None:
    assert [x.item() for x in moments(torch.tensor([math.nan]), torch.zeros(1))] == [0.0, 0.0]
