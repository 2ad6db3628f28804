"""Math-Shepherd (Wang et al. 2023): question and solution in one text, with a mark at each step's end.

`input` ends each step with `ки`; `label` is the same text with + or - in the place of each mark.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, only, text_of
from rlhf.data.importers.stepwise import in_steps
from rlhf.data.records import Kind, Record

MARK = "ки"
FIRST = "Step 1:"

FIELDS = {
    "input": "the question and the steps of a solution, each with ки at its end",
    "label": "the same with + (right) or - (wrong) in the place of each ки",
    "task": "left out",
}
OVER = ("*",)
KINDS = ("steps", "prompts")


def matches(fields: Fields) -> bool:
    """A text with marks and one with signs."""
    return isinstance(fields.get("label"), str) and isinstance(fields.get("input"), str) and MARK in fields["input"]


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    marked, signed = text_of(fields, "input"), text_of(fields, "label")
    first, *rest = marked.split(MARK)
    at = first.rfind(FIRST)
    if at < 0:
        raise BadRecord("wrong_format", f"input must have {FIRST!r} between the question and the first {MARK}")
    asked = {**only(fields), "prompt": first[:at].strip()}
    if kind == "prompts":
        yield from standard_records(asked, kind)
        return
    if rest[-1].strip():
        raise BadRecord("wrong_format", f"input must end with {MARK}, found {rest[-1].strip()[:40]!r} after the last")
    labels = []
    place = 0
    for number, text in enumerate([first, *rest[:-1]]):
        sign = signed[place + len(text) : place + len(text) + 1]
        if not signed.startswith(text, place) or sign not in ("+", "-"):
            raise BadRecord(
                "wrong_format", f"label must be input with + or - for each {MARK}; it is not at step {number + 1}"
            )
        labels.append(sign == "+")
        place += len(text) + 1
    yield in_steps(asked, [first[at:], *rest[:-1]], labels)
