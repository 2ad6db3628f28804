"""Conversations as TRL and OpenAI write them: `messages`, or lists of messages under the names of `jsonl`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT, is_messages
from rlhf.data.formats.fields import Fields
from rlhf.data.importers.jsonl import check_rejected
from rlhf.data.records import Kind, Record

FIELDS = {
    "messages": "the whole conversation, a list of {role, content}",
    "prompt": "the conversation up to the answer, or a title of it where an answer is a whole conversation",
    "response": "the answer, a list of messages",
    "completion": "another name of response",
    "chosen": "the better answer, with the conversation in front of it or without",
    "rejected": "the worse answer",
    "responses": "answers to the conversation under prompt with their ranks, a list of {text, rank}",
    "margin": "by how much the chosen answer is better, a number",
    "parallel_tool_calls": "a setting of OpenAI's server: left out",
    **CONTEXT,
}
OVER = ("hh",)


def matches(fields: Fields) -> bool:
    """Some field is a list of messages."""
    answers = ("prompt", "response", "completion", "chosen", "rejected")
    return "messages" in fields or any(is_messages(fields.get(name)) for name in answers)


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    check_rejected(fields, kind)
    yield from standard_records(fields, kind)
