"""Metrics of all answers of one model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

from rlhf.data.assistant import Verdict
from rlhf.evaluation.judges.scorers import Mark, Rubric

STAKES = {"helpfulness": "answerable", "harmlessness": "harmful", "honesty": "unknowable"}
"""Each side of the gold judge's verdict, and the kind of prompt on which it is at stake."""

_WORD = re.compile(r"[㐀-鿿豈-﫿぀-ヿ]|[^\W㐀-鿿豈-﫿぀-ヿ]+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words and punctuation in lower case. A Chinese or Japanese character is a word: nothing separates them."""
    return _WORD.findall(text.lower())


def distinct(texts: Iterable[str], n: int) -> float | None:
    """distinct-n (Li et al. 2016): different n-grams of words over all n-grams, counted over all texts together.

    In (0, 1]; low where answers repeat themselves or each other. It falls as texts grow in number, so compare models on
    the same prompts only. `None` where no text has n words. The original divides by words instead of n-grams.
    """
    grams = [tuple(found[i : i + n]) for found in map(words, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not `None`; `None` where there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def sides(marks: Sequence[Mark | None]) -> dict[str, float | None]:
    """Mean of each side (0 to 10), and the share of answerable prompts that were refused; `None` without verdicts of
    that kind.

    The gold judge knows which side is at stake in a prompt, and a side is averaged over those; a judge that reads marks
    every side of every answer, and knows no false refusals.
    """
    verdicts = [mark.verdict for mark in marks if mark is not None and mark.verdict is not None]
    found = {
        side: mean(
            getattr(verdict, side) for verdict in verdicts if isinstance(verdict, Rubric) or verdict.kind == kind
        )
        for side, kind in STAKES.items()
    }
    gold = (verdict for verdict in verdicts if isinstance(verdict, Verdict) and verdict.kind == "answerable")
    return found | {"false_refusals": mean(float(verdict.false_refusal) for verdict in gold)}


def mean_score(marks: Sequence[Mark | None]) -> float | None:
    """Mean over the answers that were marked."""
    return mean(mark.score for mark in marks if mark is not None)
