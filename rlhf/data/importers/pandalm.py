"""The test set of PandaLM (Wang et al. 2023): two answers, and three people who say which is better, or neither.

What two of the three say counts; where they say three different things, it is a tie. A tie makes no pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, choice_of, clean, only
from rlhf.data.importers.alpaca import question
from rlhf.data.records import Kind, Record

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
RANKS = {0: (1, 1), 1: (1, 2), 2: (2, 1)}
"""Ranks of the two answers by what is said: neither, the first, the second is better."""

FIELDS = {
    "instruction": "the question",
    "input": "what the question is about",
    "response1": "an answer",
    "response2": "another one",
    **dict.fromkeys(ANNOTATORS, "0: neither is better, 1: response1 is, 2: response2 is"),
    "motivation_app": "left out",
    "cmp_key": "the two models: left out",
}
OVER = ("alpaca",)


def matches(fields: Fields) -> bool:
    """Two answers and the votes."""
    return {"instruction", "response1", "response2", *ANNOTATORS} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    votes = Counter(choice_of(fields, name, (0, 1, 2)) for name in ANNOTATORS)
    verdict, most = votes.most_common(1)[0]
    ranks = RANKS[verdict if most > 1 else 0]
    texts = tuple(clean(fields[name], name) for name in ("response1", "response2"))
    if texts[0] == texts[1]:
        ranks = RANKS[0]
    responses = [{"text": text, "rank": rank} for text, rank in zip(texts, ranks, strict=True)]
    yield from standard_records({**only(fields), "prompt": question(fields), "responses": responses}, kind)
