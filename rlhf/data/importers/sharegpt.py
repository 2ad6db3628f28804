"""ShareGPT: `conversations`, a list of {from, value}; with `chosen` and `rejected` as LLaMA-Factory adds them."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT, messages_of
from rlhf.data.formats.fields import Fields
from rlhf.data.records import Kind, Record

FIELDS = {
    "conversations": "the conversation: from (human, gpt, system, function_call, observation, …) and value",
    "conversation": "another name of conversations",
    "chosen": "the better answer to it: one message",
    "rejected": "the worse answer to it",
    **CONTEXT,
}
OVER = ("messages", "hh")


def matches(fields: Fields) -> bool:
    """The name is enough: other formats call their messages `messages`."""
    return "conversations" in fields or "conversation" in fields


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    name = "conversations" if "conversations" in fields else "conversation"
    rest = {key: value for key, value in fields.items() if key not in ("conversations", "conversation")}
    if not {"chosen", "rejected"} & fields.keys():
        # `messages_of` first, so that a complaint has the field's own name.
        messages_of(fields[name], name)
        yield from standard_records({**rest, "messages": fields[name]}, kind)
        return
    turns = messages_of(fields[name], name)
    if turns[-1].role == "assistant":
        raise BadRecord("bad_turns", f"{name} beside chosen and rejected must end with the user's turn")
    found = {**rest, "prompt": fields[name]}
    for answer in {"chosen", "rejected"} & fields.keys():
        # One message, or its text alone.
        found[answer] = [fields[answer]] if isinstance(fields[answer], dict) else fields[answer]
    yield from standard_records(found, kind)
