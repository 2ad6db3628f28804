"""A label on one answer, as KTO learns from (Ethayarajh et al. 2024): `label`, or LLaMA-Factory's `kto_tag`.

The prompt and the answer stand in any other format. The label judges the last answer. As demonstrations, only answers
with a label of true are used; the others are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.fields import Fields, tags_of, truth_of
from rlhf.data.formats.parse import parse as parse_rest
from rlhf.data.records import Demonstration, Kind, Labelled, Record

LABELS = ("label", "kto_tag")
ANSWERED = (
    ("prompt", "completion"), ("prompt", "response"), ("messages",), ("conversations",), ("instruction", "output"),
    ("query", "response"), ("question", "answer"),
)  # fmt: skip

FIELDS = {
    "label": "whether the answer is desirable: true or false, 1 or 0, also as text",
    "kto_tag": "another name of label",
    "*": "the prompt and the answer, as any other format has them, and what that one understands",
}
OVER = ("*",)
KINDS = ("demonstrations", "comparisons", "labels", "documents")


def matches(fields: Fields) -> bool:
    """A label beside one answer."""
    answered = any(fields.keys() >= {*names} for names in ANSWERED)
    return answered and "chosen" not in fields and any(name in fields for name in LABELS)


def parse(fields: Fields, kind: Kind) -> Iterator[Record | BadRecord]:
    """Raises: BadRecord."""
    name = next(name for name in LABELS if name in fields)
    desirable = truth_of(fields, name)
    rest = {key: value for key, value in fields.items() if key not in LABELS}
    for found in parse_rest(rest, "demonstrations"):
        if isinstance(found, Demonstration) and not found.extras:
            yield Labelled(found.prompt, found.response, desirable, tags_of(fields))
        elif isinstance(found, BadRecord):
            yield found
        else:
            yield BadRecord("bad_tool_call", "the labelled answer calls a tool, and only texts are labelled")
