"""ROUGE-L between instructions, by which new ones are told from old ones."""

from __future__ import annotations

import math
from collections.abc import Sequence


def longest_common_subsequence(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the longest sequence of words that both have in this order, not necessarily side by side.

    A column of the table of dynamic programming is one integer here, a bit for each of our words (Hyyrö 2004): some
    microseconds for two instructions.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(ours):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(ours)) - 1
    column = every
    for word in theirs:
        matches = column & places.get(word, 0)
        column = ((column + matches) | (column - matches)) & every
    return len(ours) - column.bit_count()


def rouge_l(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """F1 of ROUGE-L (Lin 2004) with β = 1: 2·LCS / (len + len), 0 to 1; 0 where one of them has no words.

    P = LCS/len(theirs), R = LCS/len(ours), F1 = 2PR/(P + R). Words are the caller's: `rouge-score` leaves out every
    letter but a–z, and so finds two texts in Chinese to have nothing in common.
    """
    if not ours or not theirs:
        return 0.0
    return 2 * longest_common_subsequence(ours, theirs) / (len(ours) + len(theirs))


class Pool:
    """Texts that new ones are compared to.

    Args:
        threshold: ROUGE-L from which two texts count as similar.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._texts: list[list[str]] = []
        self._having: dict[str, list[int]] = {}

    def add(self, words: list[str]) -> None:
        """Append a text."""
        for word in {*words}:
            self._having.setdefault(word, []).append(len(self._texts))
        self._texts.append(words)

    def similar(self, words: list[str]) -> int | None:
        """The number of the first text that is similar; `None`: there is none.

        With c words in common, F1 is at most 2c/(n + c), so that a similar text has at least θn/(2 − θ) of our n words,
        and one of our n − c + 1 rarest ones: only texts with one of those are compared.
        """
        least = math.ceil(self.threshold * len(words) / (2 - self.threshold) - 1e-9)
        rarest = sorted(words, key=lambda word: (len(self._having.get(word, ())), word))[: len(words) - least + 1]
        for number in sorted({number for word in {*rarest} for number in self._having.get(word, ())}):
            text = self._texts[number]
            most = 2 * min(len(words), len(text)) / (len(words) + len(text))
            if most >= self.threshold and rouge_l(text, words) >= self.threshold:
                return number
        return None
