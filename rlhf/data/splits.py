"""Splits by a hash of the prompt: the same prompt falls in the same part, in every stage and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rlhf.data.records import Record, key_of

T = TypeVar("T")


@dataclass
class Splits(Generic[T]):
    """Disjoint parts of a data set, each in its original order."""

    train: list[T] = field(default_factory=list)
    val: list[T] = field(default_factory=list)
    test: list[T] = field(default_factory=list)


def fraction_of(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on `key` and `seed` alone (sha256, not Python's salted `hash`)."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(
    items: Iterable[T],
    key: Callable[[T], str],
    seed: int,
    val_fraction: float,
    test_fraction: float,
) -> Splits[T]:
    """Each item goes where the hash of its key says: test below `test_fraction`, then val, the rest train.

    Growing `val_fraction` never moves an item out of test, and adding items moves none of the others.

    Raises:
        ValueError: fractions below 0, or that leave nothing to train on.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise ValueError(f"val_fraction + test_fraction must be in [0, 1), got {val_fraction} + {test_fraction}")
    parts: Splits[T] = Splits()
    for item in items:
        place = fraction_of(key(item), seed)
        if place < test_fraction:
            parts.test.append(item)
        elif place < test_fraction + val_fraction:
            parts.val.append(item)
        else:
            parts.train.append(item)
    return parts


def split_records(records: Iterable[Record], seed: int, val_fraction: float, test_fraction: float) -> Splits[Record]:
    """`split` by prompt, or by the text of documents."""
    return split(records, key_of, seed, val_fraction, test_fraction)
