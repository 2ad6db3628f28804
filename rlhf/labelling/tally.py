"""Votes as they come in, compared with each other: what the page shows of agreement while people are at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from rlhf.labelling.vote_log import Line

FIRST, TIE, SECOND = 0, 1, 2
"""Values of an item: the first of two answers is better (or a single one is good), neither, the second (or bad)."""
VALUES = 3


def items_of(line: Line) -> Iterator[tuple[str, int]]:
    """What a vote says, two answers at a time: (item, value). A skip and «can't tell» say nothing."""
    if line["event"] != "vote":
        return
    ranks = line.get("ranks")
    if ranks is not None:
        for i, j in combinations(range(len(ranks)), 2):
            value = TIE + (ranks[i] > ranks[j]) - (ranks[i] < ranks[j])
            yield f"{line['question']}:{i}:{j}", value
    elif (desirable := line.get("desirable")) is not None:
        yield line["question"], FIRST if desirable else SECOND


class Tally:
    """Votes by item and annotator, and how many pairs of them agree.

    Attributes:
        votes: that count; skips are none.
    """

    def __init__(self) -> None:
        self.votes = 0
        self._items: dict[str, dict[str, int]] = {}
        self._voters: dict[str, set[str]] = {}
        self._pairs = self._agreeing = 0

    def voters(self, question: str) -> set[str]:
        """Who voted on a question."""
        return self._voters.get(question, set())

    def agreement(self) -> dict[str, float] | None:
        """The share of pairs of annotators who said the same of the same item, and how many; `None` before there is
        one."""
        return {"share": self._agreeing / self._pairs, "pairs": self._pairs} if self._pairs else None

    def add(self, line: Line) -> None:
        """Count a vote."""
        self._change(line, 1)

    def remove(self, line: Line) -> None:
        """Count a vote no more."""
        self._change(line, -1)

    def _change(self, line: Line, by: int) -> None:
        if line["event"] != "vote":
            return
        self.votes += by
        annotator = line["annotator"]
        voters = self._voters.setdefault(line["question"], set())
        voters.add(annotator) if by > 0 else voters.discard(annotator)
        for item, value in items_of(line):
            votes = self._items.setdefault(item, {})
            # In an arena the same question may come up again: of two votes by one annotator the later counts.
            if (before := votes.pop(annotator, None)) is not None:
                self._pair(before, votes, -1)
            if by > 0:
                self._pair(value, votes, 1)
                votes[annotator] = value

    def _pair(self, value: int, others: Mapping[str, int], by: int) -> None:
        self._pairs += by * len(others)
        self._agreeing += by * sum(other == value for other in others.values())
