"""Splits by a hash of the prompt: the same prompt falls in the same part, in every stage and on every machine.

A file that was cut out of other data by such a split, as `collect.py` writes them, has no prompt where the hash would
hold one out. It is split anew by the hash of the next level, so nested splits never undo each other, and two files that
were cut out of the same data still hold out the same prompts.
"""

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


LEVELS = 8
"""How many nested splits can be distinguished."""


def fraction_of(key: str, seed: int, level: int = 0) -> float:
    """A number in [0, 1) that depends on key, seed and level alone (sha256, not Python's salted `hash`)."""
    salt = f"nested {level} {seed}" if level else str(seed)
    digest = hashlib.sha256(f"{salt}\n{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(
    items: Iterable[T],
    key: Callable[[T], str],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    level: int = 0,
) -> Splits[T]:
    """Each item goes where the hash of its key says: test below `test_fraction`, then val, the rest train.

    Args:
        level: how many splits the items have been through, see `level_of`.

    Growing `val_fraction` never moves an item out of test, and adding items moves none of the others.

    Raises:
        ValueError: fractions below 0, or that leave nothing to train on.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise ValueError(f"val_fraction + test_fraction must be in [0, 1), got {val_fraction} + {test_fraction}")
    parts: Splits[T] = Splits()
    for item in items:
        place = fraction_of(key(item), seed, level)
        if place < test_fraction:
            parts.test.append(item)
        elif place < test_fraction + val_fraction:
            parts.val.append(item)
        else:
            parts.train.append(item)
    return parts


def level_of(keys: Iterable[str], seed: int, val_fraction: float, test_fraction: float) -> int:
    """How many splits of this kind the keys have been through already, as far as it shows.

    The first level that leaves something to train on, and where validation is asked for and should get at least one
    key, something to validate on. It depends on the set of keys, not on their order or number.
    """
    distinct = sorted(set(keys))
    train_fraction = 1 - val_fraction - test_fraction

    def empty(level: int) -> bool:
        places = [fraction_of(key, seed, level) for key in distinct]
        held = val_fraction + test_fraction
        no_val = len(distinct) * val_fraction >= 1 and not any(test_fraction <= place < held for place in places)
        no_train = len(distinct) * train_fraction >= 1 and all(place < held for place in places)
        return len(distinct) > 1 and (no_val or no_train)

    return next((level for level in range(LEVELS) if not empty(level)), 0)


def split_records(
    records: Iterable[Record], seed: int, val_fraction: float, test_fraction: float, level: int = 0
) -> Splits[Record]:
    """`split` by prompt, or by the text of documents."""
    return split(records, key_of, seed, val_fraction, test_fraction, level)
