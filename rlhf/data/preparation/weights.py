"""How often a record counts."""

from __future__ import annotations

import numpy as np

from rlhf.data.preparation.texts import digest_of, texts_of
from rlhf.data.records import Record, key_of


def uniform(digests: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each digest (uint64), by seed: the finaliser of SplitMix64 (Steele et al. 2014)."""
    found = digests + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return (found ^ (found >> np.uint64(31))).astype(np.float64) / 2.0**64


def copies(digests: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """How often each record stands in the training part, [n] int64: the whole number in its weight, and once more with
    the probability of the rest.

    Args:
        digests: [n] uint64, of what the records say. weights: [n].
    """
    whole = np.floor(weights)
    return whole.astype(np.int64) + (uniform(digests, seed) < weights - whole)


def repeated(records: list[Record], weight: float, seed: int) -> list[Record]:
    """The records, each as often as `copies` says, one behind the other."""
    if weight == 1:
        return records
    digests = [int.from_bytes(digest_of(key_of(record), texts_of(record))[:8], "little") for record in records]
    times = copies(np.array(digests, dtype=np.uint64), np.full(len(records), weight), seed)
    return [record for record, count in zip(records, times.tolist(), strict=True) for _ in range(count)]
