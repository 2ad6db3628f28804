"""Which records an earlier one makes superfluous: equal ones by digest, similar ones by MinHash and then exactly.

Every record that goes as a near duplicate is at least as similar as the threshold to one that stays, prompt and answers
each. Candidates are pairs that agree in a band of MinHash (LSH, Indyk and Motwani 1998). The tables of MinHashLSH would
take several GB for a million records; here each band is sorted separately, which needs 8 bytes a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rlhf.data.preparation.parts import Parts
from rlhf.data.preparation.removal.signatures import Signatures
from rlhf.data.preparation.words import jaccard

KEPT, EXACT, NEAR = 0, 1, 2
SPREAD = 3.0
"""Standard deviations of MinHash's estimate below the threshold down to which a pair is looked at exactly."""
PAIRS = 100_000
"""Pairs that are estimated at once: 100 MB."""

Sets = Callable[[int], tuple[str, tuple[np.ndarray, ...]]]
"""Of a record: its verdict, and the n-grams of its prompt and of each answer."""


@dataclass
class Found:
    """What became of each record: `KEPT`, `EXACT` or `NEAR`, and the record that stays in its place (-1: none)."""

    state: np.ndarray
    twin: np.ndarray

    @classmethod
    def none(cls, records: int) -> Found:
        """All are kept."""
        return cls(np.zeros(records, dtype=np.uint8), np.full(records, -1, dtype=np.int64))


def exact(parts: Parts, found: Found) -> None:
    """Mark records whose digest an earlier one has."""
    digest, more = parts.numbers("digest"), parts.numbers("digest_more")
    order = np.lexsort((np.arange(len(digest)), more, digest))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (digest[order[1:]] != digest[order[:-1]]) | (more[order[1:]] != more[order[:-1]])
    first = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]] if len(order) else order
    again = ~starts
    found.state[order[again]] = EXACT
    found.twin[order[again]] = first[again]


def candidates(parts: Parts, signatures: Signatures, found: Found, tell: Callable[[int], None]) -> np.ndarray:
    """Pairs (earlier, later) worth a look, [m, 2], sorted by the later one: of each group that agrees in a band, each
    record with the one in front of it and with the first.

    Args:
        tell: is called with the number of bands done.
    """
    waiting = found.state == KEPT
    pairs = np.empty((0, 2), dtype=np.int64)
    for band in range(signatures.bands):
        keys = [signatures.band(part.hashes(), band) for part in parts.all if part.records]
        numbers = np.flatnonzero(waiting)
        key = np.concatenate(keys)[numbers] if keys else np.empty(0, dtype=np.uint64)
        order = np.argsort(key, kind="stable")
        later = np.flatnonzero(key[order[1:]] == key[order[:-1]]) + 1
        starts = np.ones(len(order), dtype=bool)
        starts[later] = False
        first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        sides = (later - 1, first[later])
        mine = [np.stack([numbers[order[side]], numbers[order[later]]], axis=1) for side in sides]
        new = np.unique(np.concatenate(mine), axis=0)
        # At once, since texts made from one template agree in many bands: all pairs together could fill the memory.
        pairs = np.unique(np.concatenate([pairs, new[estimates(parts, new) >= lowest(signatures)]]), axis=0)
        tell(band + 1)
    return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]


def lowest(signatures: Signatures) -> float:
    """The estimate below which a pair is not similar enough in all likelihood."""
    t = signatures.threshold
    return float(t - SPREAD * np.sqrt(t * (1 - t) / signatures.permutations))


def estimates(parts: Parts, pairs: np.ndarray) -> np.ndarray:
    """The share of equal hashes of each pair, [m]: MinHash's estimate of its Jaccard similarity."""
    found = np.zeros(len(pairs))
    tables = [part.hashes() for part in parts.all]
    starts = np.array([part.first for part in parts.all], dtype=np.int64)
    for begin in range(0, len(pairs), PAIRS):
        some = pairs[begin : begin + PAIRS]
        sides = []
        for records in some.T:
            where = np.searchsorted(starts, records, side="right") - 1
            rows = np.empty((len(records), max(t.shape[1] for t in tables)), dtype=np.uint32)
            for number in np.unique(where):
                mine = where == number
                rows[mine] = tables[number][records[mine] - starts[number]]
            sides.append(rows)
        found[begin : begin + PAIRS] = (sides[0] == sides[1]).mean(axis=1)
    return found


def near(pairs: np.ndarray, sets: Sets, threshold: float, found: Found, tell: Callable[[int], None]) -> None:
    """Mark, in order, each record that is similar enough to an earlier one that stays.

    Args:
        pairs: of `candidates`.
        tell: is called now and then with the number of pairs done.
    """
    looked_up = lru_cache(maxsize=4096)(sets)
    for number, (earlier, later) in enumerate(pairs.tolist()):
        if number % 1000 == 0:
            tell(number)
        if found.state[later] != KEPT:
            continue
        # Of one that goes itself, the one that stays in its place.
        stays = earlier if found.state[earlier] == KEPT else int(found.twin[earlier])
        if similar(looked_up(stays), looked_up(later), threshold):
            found.state[later], found.twin[later] = NEAR, stays


def similar(
    ours: tuple[str, tuple[np.ndarray, ...]], theirs: tuple[str, tuple[np.ndarray, ...]], threshold: float
) -> bool:
    """Whether two records have the same verdict, and each part of one is similar enough to that of the other.

    Each answer must also be nearest to the one in its own place: of two answers that are much alike, one person may
    prefer this one and another person that one, and both votes count.
    """
    (verdict, mine), (other, yours) = ours, theirs
    if verdict != other or len(mine) != len(yours):
        return False
    direct = [jaccard(a, b) for a, b in zip(mine, yours, strict=True)]
    if min(direct) < threshold:
        return False
    answers = range(1, len(mine))
    return all(direct[i] >= jaccard(mine[i], yours[j]) for i in answers for j in answers if i != j)
