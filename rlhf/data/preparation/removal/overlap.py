"""Which records an evaluation asks for: n-grams of words in common with its questions.

Its answers are not compared: many of them are sentences that anybody may write, refusals above all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.data.files.values import file_sha256
from rlhf.data.formats.parse import parse
from rlhf.data.preparation.words import WordNumbers, ngrams, words_of
from rlhf.data.readers import file_values, files_of
from rlhf.data.records import Prompt
from rlhf.errors import DataError

SHORTEST = 6
"""Words: what is shorter is found only as a whole turn, since anybody may have asked it in passing."""
COMMON = 10
"""An n-gram of more different questions than this is an evaluation's template, not one of its questions."""


@dataclass(frozen=True)
class Hit:
    """An item of an evaluation that a record has words in common with."""

    item: str
    words: str


class Evaluations:
    """The questions of evaluation files.

    Attributes:
        files: what was read: path, sha256, items, and those that can't be looked for.
    """

    def __init__(self, paths: Iterable[str], ngram: int, numbers: WordNumbers) -> None:
        self.ngram, self.files = ngram, list[dict[str, Any]]()
        self._places: list[str] = []
        holders: dict[int, dict[int, int]] = defaultdict(dict)
        counted: dict[int, Counter[int]] = defaultdict(Counter)
        self._asked: set[bytes] = set()
        self._turns: dict[int, dict[int, int]] = defaultdict(dict)
        for path in paths:
            items = bad = 0
            for raw in file_values(files_of(Path(path), None), "prompts"):
                for found in [raw.error] if raw.error is not None else parse(raw.value, "prompts"):
                    if not isinstance(found, Prompt):
                        bad += 1
                        continue
                    items += 1
                    self._places.append(raw.place)
                    for text in (text for role, text in found.turns if role == "user"):
                        self._add(numbers(words_of(text)), len(self._places) - 1, holders, counted)
            if not items:
                raise DataError(f"decontamination.against: {path} has no question that could be read")
            self.files.append({"path": path, "sha256": file_sha256(path), "items": items, "unreadable": bad})
        self._tables: list[tuple[int, np.ndarray, np.ndarray]] = []
        for n, found_at in sorted(holders.items()):
            rare = sorted(number for number in found_at if counted[n][number] <= COMMON)
            table = np.array(rare, dtype=np.uint64)
            self._tables.append((n, table, np.array([found_at[number] for number in rare], dtype=np.int64)))

    def _add(
        self, words: np.ndarray, item: int, holders: dict[int, dict[int, int]], counted: dict[int, Counter[int]]
    ) -> None:
        # Evaluations ask the same question many times, for many answers or in many settings: that makes it no template.
        if words.tobytes() in self._asked:
            return
        self._asked.add(words.tobytes())
        n = min(self.ngram, len(words))
        if 0 < n < SHORTEST:
            self._turns[n].setdefault(int(ngrams(words, n)[0]), item)
        elif n:
            grams = set(ngrams(words, n).tolist())
            counted[n].update(grams)
            for number in grams:
                holders[n].setdefault(number, item)

    def hit(self, words: Sequence[Sequence[str]], numbers: Sequence[np.ndarray]) -> Hit | None:
        """The first item that a record's texts have enough in common with; `None`: none.

        Args:
            words, numbers: of each turn and answer.
        """
        for own, found in zip(words, numbers, strict=True):
            turn = self._turns.get(len(found))
            if turn is not None and (item := turn.get(int(ngrams(found, len(found))[0]))) is not None:
                return Hit(self._places[item], " ".join(own))
            for n, table, items in self._tables:
                grams = ngrams(found, n)
                if not len(grams) or not len(table):
                    continue
                at = np.minimum(np.searchsorted(table, grams), len(table) - 1)
                same = np.flatnonzero(table[at] == grams)
                if len(same):
                    start = int(same[0])
                    return Hit(self._places[int(items[at[start]])], " ".join(own[start : start + n]))
        return None
