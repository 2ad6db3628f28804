from __future__ import annotations

import numpy as np
import pytest

from rlhf.rollout.uniforms import EVALUATE, TRAIN, uniforms

BASE = {"seed": 3, "iteration": 5, "keys": [(7, 1)], "length": 20, "stream": TRAIN}


def test_a_row_is_its_own_whatever_stands_around_it() -> None:
    keys = [(prompt, sample) for prompt in range(4) for sample in range(3)]
    together = uniforms(1, 2, keys, 9)
    for row, key in zip(together, keys, strict=True):
        assert np.array_equal(uniforms(1, 2, [key], 9)[0], row)
    assert np.array_equal(uniforms(1, 2, keys[::-1], 9), together[::-1])


@pytest.mark.parametrize("longer", [21, 64, 257])
def test_a_position_does_not_depend_on_the_length(longer: int) -> None:
    assert np.array_equal(uniforms(**(BASE | {"length": longer}))[0, :20], uniforms(**BASE)[0])


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"iteration": 6}, {"keys": [(8, 1)]}, {"keys": [(7, 2)]}, {"keys": [(1, 7)]}, {"stream": EVALUATE}],
)
def test_each_coordinate_makes_other_numbers(change: dict[str, object]) -> None:
    found, other = uniforms(**BASE)[0], uniforms(**(BASE | change))[0]
    assert not np.isin(found, other).any()


def test_neighbours_do_not_overlap() -> None:
    """Counters count upwards: long rows must not run into the numbers of the next sample or prompt."""
    keys = [(prompt, sample) for prompt in range(3) for sample in range(3)]
    numbers = uniforms(0, 0, keys, 5000)
    assert len(np.unique(numbers)) == numbers.size


def test_they_are_uniform() -> None:
    numbers = uniforms(0, 0, [(prompt, 0) for prompt in range(2000)], 5)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # 99.9% of chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(numbers.T) - np.eye(5)).max() < 0.1


def test_no_rows_have_the_right_shape() -> None:
    assert uniforms(0, 0, [], 4).shape == (0, 4)
