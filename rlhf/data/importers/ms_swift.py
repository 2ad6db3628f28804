"""ms-swift: `messages` with `rejected_response` or `rejected_messages`, and its older `query` with `response`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT, messages_of
from rlhf.data.formats.fields import Fields
from rlhf.data.records import Kind, Record

FIELDS = {
    "messages": "the conversation with the better answer, or the only one, at its end",
    "rejected_response": "the worse answer to it",
    "rejected_messages": "the conversation with the worse answer at its end",
    "query": "the question",
    "response": "the answer, or the better one",
    **CONTEXT,
}
OVER = ("messages",)
REJECTED = ("rejected_response", "rejected_messages")


def matches(fields: Fields) -> bool:
    """A rejected answer under ms-swift's names, or a query."""
    return "query" in fields or ("messages" in fields and any(name in fields for name in REJECTED))


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    found = {name: value for name, value in fields.items() if name not in ("query", *REJECTED)}
    if "query" in fields:
        found["prompt"] = fields["query"]
    rejected = next((fields[name] for name in REJECTED if fields.get(name)), None)
    if rejected is None or kind not in ("comparisons", "labels"):
        yield from standard_records(found, kind)
        return
    if "messages" in found:
        messages = found.pop("messages")
        turns = messages_of(messages, "messages")
        if turns[-1].role != "assistant" or not isinstance(messages, list):
            raise BadRecord("bad_turns", f"messages must end with the assistant's turn, found the {turns[-1].role}'s")
        found["chosen"] = messages
        if isinstance(rejected, str):
            rejected = [*messages[:-1], {"role": "assistant", "content": rejected}]
    else:
        found["chosen"] = found.pop("response", None)
    yield from standard_records({**found, "rejected": rejected}, kind)
