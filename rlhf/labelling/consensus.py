"""What annotators say together: tables of their labels, and one record for each question instead of one for each
vote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rlhf.evaluation.agreement import FIRST, TIE, Labels, disputed, labels_from, majority_of, weighted_of
from rlhf.labelling.export import comparable, comparison, comparisons_of, label, labels_of
from rlhf.labelling.tally import items_of
from rlhf.labelling.vote_log import Line

WAYS = ("each", "majority", "weighted")
"""A record for each vote; what most say; what the labels say, each annotator's weighted (Dawid & Skene 1979)."""
NEITHER = ("the first", "neither", "the second")


def table_of(lines: Sequence[Line]) -> Labels:
    """Labels of pairs of answers, and of single ones."""
    return labels_from([(line["annotator"], item, value) for line in lines for item, value in items_of(line)])


def together(lines: Sequence[Line], way: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Comparisons and labels as training data.

    Of more than two answers, each is ranked by how many others it beats, less how many beat it.

    Args:
        lines: votes that stand.
        way: one of `WAYS`.
    """
    if way == "each":
        return comparisons_of(lines), labels_of(lines)
    labels = table_of(lines)
    values = (majority_of(labels) if way == "majority" else weighted_of(labels)).tolist()
    said = dict(zip(labels.items, values, strict=True))
    by_question: dict[str, list[Line]] = {}
    for line in lines:
        if any(items_of(line)):
            by_question.setdefault(line["question"], []).append(line)
    comparisons, thumbs = [], []
    for question, votes in by_question.items():
        last: dict[str, Any] = {
            **votes[-1],
            "annotator": f"{way} of {len({line['annotator'] for line in votes})}",
            "comment": "",
        }
        n = len(last["responses"])
        if n > 1 and not comparable(last["responses"]):
            continue
        if n > 1:
            comparisons.append(comparison(last, _ranks(question, n, said)))
        elif said[question] != TIE:
            thumbs.append(label({**last, "desirable": said[question] == FIRST}))
    return comparisons, thumbs


def _ranks(question: str, n: int, said: dict[str, int]) -> list[int]:
    """Ranks without gaps from the pairs of a question."""
    lead = [0] * n
    for i in range(n):
        for j in range(i + 1, n):
            by = TIE - said[f"{question}:{i}:{j}"]
            lead[i] += by
            lead[j] -= by
    places = sorted(set(lead), reverse=True)
    return [places.index(mine) + 1 for mine in lead]


def disputes(lines: Sequence[Line], labels: Labels, most: int) -> list[dict[str, Any]]:
    """What annotators differ about, the least certain first: the prompt, the two answers, and who says what."""
    by_question = {line["question"]: line for line in lines}
    found = []
    for place in disputed(labels, most):
        question, *pair = labels.items[place].split(":")
        line = by_question[question]
        texts = [line["responses"][int(i)] for i in pair] or line["responses"]
        column = labels.values[:, place].tolist()
        votes = {name: value for name, value in zip(labels.annotators, column, strict=True) if value >= 0}
        words = NEITHER if pair else ("good", "", "bad")
        found.append(
            {"prompt": line["prompt"], "answers": texts, "votes": {name: words[v] for name, v in votes.items()}}
        )
    return found


def names_of(lines: Iterable[Line]) -> list[str]:
    """Annotators, in the order in which they first voted."""
    return list(dict.fromkeys(line["annotator"] for line in lines))
