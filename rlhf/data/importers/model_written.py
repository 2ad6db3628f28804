"""Model-written evaluations (Perez et al. 2022): a question, and the answers that do and don't match a behaviour.

Matching means showing the behaviour that the file is named after, which is mostly unwanted: neither answer is better,
so only the prompts are read.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields
from rlhf.data.records import Kind, Record

MATCHING = ("answer_matching_behavior", "answer_not_matching_behavior")
FIELDS = {
    "question": "the question",
    **dict.fromkeys(MATCHING, "answers: which of them is better is not said"),
    "statement": "what the question is about; it stands in the question",
    "label_confidence": "left out",
}


def matches(fields: Fields) -> bool:
    """A question with the two answers."""
    return {"question", *MATCHING} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    if kind != "prompts":
        raise BadRecord("missing_field", f"{MATCHING[0]} does not say which answer is better, so there are no {kind}")
    yield from standard_records({"prompt": fields["question"]}, kind)
