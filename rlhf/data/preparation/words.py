"""Words of a text as numbers, and their n-grams: what duplicates, decontamination and lengths are counted in."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
"""Of writing without spaces between words: each counts as a word."""
WORD = re.compile(rf"[{CHARACTERS}]|[^\W{CHARACTERS}]+")
MOST_KNOWN = 400_000
"""Words whose numbers are remembered: some 50 MB."""
LONGEST_NGRAM = 64

_FACTORS = np.random.Generator(np.random.Philox(17)).integers(2**63, size=LONGEST_NGRAM, dtype=np.uint64) * 2 + 1


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return WORD.findall(text.casefold())


class WordNumbers:
    """Numbers of words, [n] uint64, the same in every process and on every machine."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        known = self._known
        if len(known) > MOST_KNOWN:
            known.clear()
        found: list[Any] = list(map(known.get, words))
        if None in found:
            for word in words:
                if word not in known:
                    known[word] = int.from_bytes(blake2b(word.encode("utf-8"), digest_size=8).digest(), "little")
            found = list(map(known.get, words))
        return np.frombuffer(array("Q", found), dtype=np.uint64)


def ngrams(numbers: np.ndarray, n: int) -> np.ndarray:
    """Numbers of all n-grams in order, [max(0, len − n + 1)] uint64: Σ_k w_k·f_k modulo 2⁶⁴ with fixed odd factors f.

    Args:
        numbers: of words, [len].
        n: at most `LONGEST_NGRAM`.
    """
    count = len(numbers) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    found = numbers[:count] * _FACTORS[0]
    for k in range(1, n):
        found = found + numbers[k : k + count] * _FACTORS[k]
    return found ^ (found >> np.uint64(29))


def shingles(numbers: np.ndarray, n: int) -> np.ndarray:
    """The n-grams that a text is compared by: a text of fewer words is one n-gram, and an empty one has none."""
    return ngrams(numbers, min(n, len(numbers))) if len(numbers) else numbers


def jaccard(ours: np.ndarray, theirs: np.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two sets, given with repetitions; 1 where both are empty."""
    ours, theirs = np.unique(ours), np.unique(theirs)
    if not len(ours) and not len(theirs):
        return 1.0
    both = len(np.intersect1d(ours, theirs, assume_unique=True))
    return both / (len(ours) + len(theirs) - both)
