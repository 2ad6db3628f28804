"""How weights become one, with numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import tensor

from rlhf.objectives.merging import average, merge, slerp

HALF, ROOT = 0.5, math.sqrt(3) / 2


@pytest.mark.parametrize(
    ("first", "second", "t", "expected"),
    [
        # 90°: sin 60°·a + sin 30°·b at a third of the way, and lengths of their own.
        ([1, 0], [0, 1], 1 / 3, [ROOT, HALF]),
        ([2, 0], [0, 4], 0.5, [2 / math.sqrt(2), 4 / math.sqrt(2)]),
        # 60°, halfway: 30°.
        ([1, 0], [HALF, ROOT], 0.5, [ROOT, HALF]),
        # 120°, halfway: 60°, still of length 1, where the average is of length ½.
        ([1, 0], [-HALF, ROOT], 0.5, [HALF, ROOT]),
        # 0° and 180° are on one line, and one of length 0 has no direction.
        ([1, 0], [3, 0], 0.25, [1.5, 0]),
        ([1, 0], [-1, 0], 0.5, [0, 0]),
        ([0, 0], [0, 2], 0.5, [0, 1]),
        # The ends.
        ([1, 0], [HALF, ROOT], 0, [1, 0]),
        ([1, 0], [HALF, ROOT], 1, [HALF, ROOT]),
    ],
)
def test_interpolation_on_the_sphere(first: list[float], second: list[float], t: float, expected: list[float]) -> None:
    found = slerp(tensor(first).float(), tensor(second).float(), t)
    torch.testing.assert_close(found, tensor(expected).float(), atol=1e-6, rtol=1e-6)


def test_shapes_don_t_matter_to_an_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    whole = slerp(flat[0], flat[1], 0.3)
    monkeypatch.setattr("rlhf.objectives.merging.BLOCK", 5)
    torch.testing.assert_close(slerp(flat[0].view(4, 6), flat[1].view(4, 6), 0.3).flatten(), whole)


def test_averages() -> None:
    weights = [tensor([1.0, 2.0]), tensor([3.0, 0.0]), tensor([5.0, -2.0])]
    assert average(weights, [1 / 3] * 3).tolist() == pytest.approx([3, 0])
    assert merge(weights, [0.5, 0.25, 0.25]).tolist() == pytest.approx([2.5, 0.5])
    half = [w.to(torch.bfloat16) for w in weights]
    assert average(half, [0.5, 0.5, 0]).dtype == torch.float32


def test_what_was_learnt_since_a_start() -> None:
    """From (1, 1) by (1, 0) and by (0, 1): on the sphere (1, 1) + (√½, √½), added up (2, 2), averaged (1.5, 1.5)."""
    start, models = tensor([1.0, 1.0]), [tensor([2.0, 1.0]), tensor([1.0, 2.0])]
    halves = [0.5, 0.5]
    on_sphere = 1 + math.sqrt(0.5)
    assert merge(models, halves, method="slerp", init=start).tolist() == pytest.approx([on_sphere] * 2)
    assert merge(models, [1, 1], method="task_arithmetic", init=start).tolist() == pytest.approx([2, 2])
    assert merge(models, halves, init=start).tolist() == pytest.approx([1.5, 1.5])
    # A quarter of the way back to where all started: 1 + ¾·√½.
    back = merge(models, halves, method="slerp", init=start, towards_init=0.25)
    assert back.tolist() == pytest.approx([1 + 0.75 * math.sqrt(0.5)] * 2)


def test_more_than_two_on_the_sphere_one_after_the_other() -> None:
    """Shares ½, ¼, ¼ at right angles: the second comes in with a third, the third with a quarter."""
    start, models = torch.zeros(3), list(torch.eye(3))
    two = [math.sin(math.pi / 2 * 2 / 3), math.sin(math.pi / 2 / 3)]
    far, near = math.sin(math.pi / 2 * 3 / 4), math.sin(math.pi / 2 / 4)
    found = merge(models, [0.5, 0.25, 0.25], method="slerp", init=start)
    assert found.tolist() == pytest.approx([far * two[0], far * two[1], near])
    assert float(found.norm()) == pytest.approx(1)
