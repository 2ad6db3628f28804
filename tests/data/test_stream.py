from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.stream import WINDOW, optimisation_batches

sizes = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))


@given(sizes, st.booleans())
def test_a_batch_depends_on_its_step_alone(size: tuple[int, int, int], with_lengths: bool) -> None:
    n, batch_size, seed = size
    lengths = [7 * index % 11 for index in range(n)] if with_lengths else None
    stream = optimisation_batches(n, batch_size, seed, lengths)
    forward = [stream.batch(step) for step in range(20)]
    backward = [optimisation_batches(n, batch_size, seed, lengths).batch(step) for step in reversed(range(20))]
    assert forward == backward[::-1]
    assert all(len(batch) == batch_size for batch in forward)


@given(sizes)
def test_epochs_are_permutations_laid_end_to_end(size: tuple[int, int, int]) -> None:
    n, batch_size, seed = size
    stream = optimisation_batches(n, batch_size, seed)
    assert stream.steps_per_epoch == -(-n // batch_size)
    indices = [index for step in range(3 * stream.steps_per_epoch) for index in stream.batch(step)]
    for epoch in range(3):
        assert sorted(indices[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_epochs_and_seeds_differ() -> None:
    stream, other = optimisation_batches(50, 50, 0), optimisation_batches(50, 50, 1)
    orders = [stream.batch(0), stream.batch(1), other.batch(0), list(range(50))]
    assert len({tuple(order) for order in orders}) == 4


@given(sizes)
def test_lengths_change_which_examples_meet_but_lose_none(size: tuple[int, int, int]) -> None:
    n, batch_size, seed = size
    lengths = [index // 2 for index in range(n)]
    plain, windowed = optimisation_batches(n, batch_size, seed), optimisation_batches(n, batch_size, seed, lengths)
    for window in range(2):
        steps = range(window * WINDOW, (window + 1) * WINDOW)
        batches = [windowed.batch(step) for step in steps]
        assert sorted(chain(*batches)) == sorted(chain(*(plain.batch(step) for step in steps)))
        # Sorted by length and cut: the batches' ranges of lengths can touch but not overlap.
        ranges = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
        assert all(ranges[k][1] <= ranges[k + 1][0] for k in range(len(ranges) - 1))


def test_batches_of_a_window_come_in_random_order() -> None:
    stream = optimisation_batches(1000, 10, 0, list(range(1000)))
    firsts = [min(stream.batch(step)) for step in range(WINDOW)]
    assert firsts != sorted(firsts)


def test_impossible_arguments_are_refused() -> None:
    for n, batch_size in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            optimisation_batches(n, batch_size, 0)
    with pytest.raises(ValueError, match="3 lengths for 2"):
        optimisation_batches(2, 1, 0, [1, 2, 3])
    with pytest.raises(ValueError, match="step"):
        optimisation_batches(2, 1, 0).batch(-1)
