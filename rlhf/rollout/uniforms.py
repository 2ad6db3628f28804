"""Counter-based randomness: every draw is a function of (seed, stream, iteration, prompt, sample, position).

Samples therefore don't depend on the batch they were drawn in, on rows that finished earlier or on the number of
ranks, and an iteration that is replayed after an interruption draws the same tokens. Philox is such a function
(Salmon et al. 2011, «Parallel random numbers: as easy as 1, 2, 3»); NumPy has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TRAIN, EVALUATE = 0, 1
"""Streams: samples drawn to learn from, and samples drawn to look at, never share a draw."""


def uniforms(
    seed: int, iteration: int, keys: Sequence[tuple[int, int]], length: int, stream: int = TRAIN
) -> np.ndarray:
    """Uniform numbers in [0, 1), float64, shape [len(keys), length].

    Args:
        seed: the run's seed, ≥ 0.
        iteration: PPO iteration or evaluation step.
        keys: (prompt, sample) of each row: the prompt's number in its data set, and which of its samples.
        length: positions, from 0.
        stream: what the draws are for.
    """
    key = np.array([seed, (stream << 48) + iteration], dtype=np.uint64)
    rows = [
        np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, *row], dtype=np.uint64))).random(length)
        for row in keys
    ]
    return np.stack(rows) if rows else np.zeros((0, length))
