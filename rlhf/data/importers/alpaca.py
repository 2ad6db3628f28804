"""Alpaca (Taori et al. 2023), Dolly and LLaMA-Factory: `instruction`, `input`, and `output` or `chosen` and `rejected`.

The prompt is the instruction and, on the next lines, the input, as LLaMA-Factory joins them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields, clean, only, text_of
from rlhf.data.records import Kind, Record

FIELDS = {
    "instruction": "the question",
    "input": "what the question is about, appended to it; may be empty",
    "context": "Dolly's name of input",
    "output": "the answer",
    "response": "Dolly's name of output",
    "chosen": "the better answer",
    "rejected": "the worse answer",
    "text": "Stanford's rendering of the record, which stands in the other fields already",
    **CONTEXT,
}


def matches(fields: Fields) -> bool:
    """An instruction; formats with more fields around one are over this one."""
    return "instruction" in fields


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    found = only(fields, "chosen", "rejected", *CONTEXT)
    found["prompt"] = question(fields)
    for name in ("output", "response"):
        if name in fields and "chosen" not in fields:
            found["response"] = text_of(fields, name) if kind != "prompts" else fields[name]
            break
    yield from standard_records(found, kind)


def question(fields: Fields, about: tuple[str, ...] = ("input", "context")) -> str:
    """The instruction with what it is about on the next lines."""
    parts = [clean(fields[name], name) for name in ("instruction", *about) if name in fields]
    # Some sets write the whole question into `input`.
    return "\n".join(part for part in parts if part) or text_of(fields, "instruction")
