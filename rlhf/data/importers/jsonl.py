"""The lab's own fields: `prompt` with `response`, `chosen` and `rejected`, or `responses`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT, is_messages
from rlhf.data.formats.fields import Fields
from rlhf.data.formats.meaning import UNKNOWN_FIELD
from rlhf.data.records import Kind, Record

FIELDS = {
    "prompt": "the question",
    "response": "the answer",
    "completion": "another name of response",
    "chosen": "the better answer",
    "rejected": "the worse answer",
    "margin": "by how much the chosen answer is better, a number",
    "responses": "answers with their ranks, a list of {text, rank}; 1 is best; each may have a score",
    **CONTEXT,
}


def matches(fields: Fields) -> bool:
    """Answers and prompts as texts; lists of messages are another format."""
    named = fields.keys() & (FIELDS.keys() - CONTEXT.keys())
    return bool(named) and not any(is_messages(fields[name]) for name in named - {"responses"})


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    check_rejected(fields, kind)
    yield from standard_records(fields, kind)


def check_rejected(fields: Fields, kind: Kind) -> None:
    """Refuse a rejected answer without a chosen one: which of the others is meant can't be told.

    Raises:
        BadRecord: there is one.
    """
    if (
        kind != "prompts"
        and fields.get("rejected")
        and "chosen" not in fields
        and fields.keys() - {"prompt", "rejected"}
    ):
        raise BadRecord(
            UNKNOWN_FIELD,
            "field rejected without chosen could change what the record means; data.ignore=[rejected] lets it pass",
        )
