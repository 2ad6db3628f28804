"""Learning-rate schedule and weighted means, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_modules.updates.averages import Means
from lightning_modules.updates.schedule import lr_factor


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def test_schedule_by_hand() -> None:
    def factor(step: int, schedule: str) -> float:
        return lr_factor(step, 10, warmup=2, schedule=schedule, min_ratio=0.1)

    assert [factor(0, "linear"), factor(1, "linear"), factor(2, "linear")] == [0.5, 1.0, 1.0]
    assert factor(6, "linear") == pytest.approx(0.1 + 0.9 * 0.5)  # 4 of the 8 updates after warm-up are done
    assert factor(6, "cosine") == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert factor(4, "cosine") == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert factor(10, "linear") == factor(12, "cosine") == pytest.approx(0.1)
    assert factor(9, "constant") == 1.0
    with pytest.raises(ValueError, match="cosine, linear or constant"):
        factor(5, "step")


def test_means_by_hand() -> None:
    first, second = Means(), Means()
    first.add("x", torch.tensor([1.0, 3.0]), torch.tensor([1.0, 3.0]))  # 1·1 + 3·3 = 10 of weight 4
    second.add("x", torch.tensor([5.0]), torch.tensor([2.0]))  # 10 of weight 2
    first.total("tokens", 7)
    second.total("tokens", 5)
    first.merge(second)
    assert first.reduce(same) == {"x": pytest.approx(20 / 6), "tokens": 12.0}


def test_a_rank_with_nothing_adds_the_same_names_with_no_weight() -> None:
    means = Means()
    means.add("x", torch.tensor([2.0, 4.0]))
    empty = means.zeroed()
    assert empty.sums.keys() == means.sums.keys()
    means.merge(empty)
    assert means.reduce(same) == {"x": 3.0}
    assert math.isnan(empty.reduce(same)["x"])
