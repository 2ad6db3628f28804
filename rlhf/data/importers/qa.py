"""`question` with `answer`, as GSM8K (Cobbe et al. 2021) and many others write demonstrations."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields
from rlhf.data.records import Kind, Record

FIELDS = {"question": "the question", "answer": "the answer, as it stands", **CONTEXT}


def matches(fields: Fields) -> bool:
    """A question with one answer."""
    return {"question", "answer"} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    found = {"prompt": fields["question"], "response": fields["answer"]}
    yield from standard_records({**fields, **found}, kind)
