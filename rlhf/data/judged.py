"""Answers with labels, gathered by prompt: what learns from labels reads a prompt once for all answers to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlhf.data.records import Comparison, Demonstration, Document, Labelled, Prompt, Ranking, Record, StepLabelled

TOGETHER = 16
"""Answers to one prompt in one row at most: a row is never cut, and must fit into a micro-batch."""


@dataclass(frozen=True)
class Judged:
    """Answers to one prompt, and of each whether it is desirable."""

    prompt: Prompt
    responses: tuple[str, ...]
    desirable: tuple[bool, ...]


def labels_of(record: Record) -> list[tuple[str, bool]]:
    """The labelled answers of a record.

    Of a comparison, the chosen answer is desirable and the rejected one is not. Of a ranking, an answer is desirable
    that is better than more of the others than are better than it, undesirable in the opposite case, and left out
    where it is neither: each of its comparisons votes.

    Raises:
        TypeError: the record judges nothing.
    """
    if isinstance(record, Labelled):
        return [(record.response, record.desirable)]
    if isinstance(record, Comparison):
        return [(record.chosen, True), (record.rejected, False)]
    if isinstance(record, Document | Prompt | Demonstration | StepLabelled):
        raise TypeError(f"a {type(record).__name__.lower()} can't serve as one of the labels")
    assert isinstance(record, Ranking)
    votes = [sum((rank < other) - (rank > other) for other in record.ranks) for rank in record.ranks]
    return [(text, vote > 0) for text, vote in zip(record.responses, votes, strict=True) if vote]


def judged(records: Iterable[Record]) -> list[tuple[int, Judged]]:
    """Labelled answers by prompt, in the order in which prompts come first, at most `TOGETHER` in one.

    Returns:
        Each with the index of the first record that it holds an answer of.
    """
    open_ones: dict[Prompt, int] = {}
    found: list[tuple[int, Prompt, list[tuple[str, bool]]]] = []
    for index, record in enumerate(records):
        for answer in labels_of(record):
            prompt = record.prompt  # type: ignore[union-attr]
            number = open_ones.get(prompt)
            if number is None or len(found[number][2]) >= TOGETHER:
                number = open_ones[prompt] = len(found)
                found.append((index, prompt, []))
            found[number][2].append(answer)
    return [
        (index, Judged(prompt, tuple(text for text, _ in answers), tuple(label for _, label in answers)))
        for index, prompt, answers in found
    ]
