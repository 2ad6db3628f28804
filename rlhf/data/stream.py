"""Which examples an optimiser step sees: a pure function of (seed, step), so that resuming is starting at a step."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

# How many batches are sorted together when lengths are given: enough to pad little, few enough to stay random.
WINDOW = 8


class OptimisationBatches:
    """An endless sequence of batches of exactly `batch_size` indices out of `n`.

    Every epoch is a fresh permutation by (seed, epoch). Epochs are laid end to end and cut into batches, so a batch
    may hold an epoch's tail and the next one's head, and over whole numbers of epochs each index occurs equally often.

    Args:
        lengths: tokens of each example. With them, windows of 8 batches are sorted by length before they are cut and
            the batches of a window come in random order, so that a batch holds examples of about one length.

    Attributes:
        steps_per_epoch: batches that one epoch needs, rounded up.
    """

    def __init__(self, n: int, batch_size: int, seed: int, lengths: Sequence[int] | None = None) -> None:
        if n < 1 or batch_size < 1:
            raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
        if lengths is not None and len(lengths) != n:
            raise ValueError(f"{len(lengths)} lengths for {n} examples")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.steps_per_epoch = ceil(n / batch_size)
        self._lengths = None if lengths is None else np.asarray(lengths)
        # The last permutation and the last window, since neighbouring steps share them.
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))
        self._window: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def batch(self, step: int) -> list[int]:
        """Indices of step 0, 1, 2, ..."""
        if step < 0:
            raise ValueError(f"step must be at least 0, got {step}")
        if self._lengths is None:
            return self._sequence(step * self.batch_size, self.batch_size).tolist()
        window, row = divmod(step, WINDOW)
        if self._window[0] != window:
            self._window = (window, self._sorted_window(window))
        return self._window[1][row].tolist()

    def _sequence(self, start: int, count: int) -> np.ndarray:
        """[count] of the epochs laid end to end, from `start` on."""
        parts = []
        while count:
            epoch, offset = divmod(start, self.n)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)

    def _sorted_window(self, window: int) -> np.ndarray:
        """[WINDOW, batch_size]"""
        assert self._lengths is not None
        size = WINDOW * self.batch_size
        indices = self._sequence(window * size, size)
        ordered = indices[np.argsort(self._lengths[indices], kind="stable")]
        return self._generator(1, window).permutation(ordered.reshape(WINDOW, self.batch_size))

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._generator(0, epoch).permutation(self.n))
        return self._epoch[1]

    def _generator(self, use: int, number: int) -> np.random.Generator:
        """Seeded by what it is for, so that any epoch comes without drawing the ones before."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, use, number])))


def optimisation_batches(
    n: int, batch_size: int, seed: int, lengths: Sequence[int] | None = None
) -> OptimisationBatches:
    """See `OptimisationBatches`."""
    return OptimisationBatches(n, batch_size, seed, lengths)
