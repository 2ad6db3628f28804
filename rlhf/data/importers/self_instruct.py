"""Seed tasks of Self-Instruct (Wang et al. 2023): an `instruction` with `instances` of {input, output}."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, list_of, type_name
from rlhf.data.importers.alpaca import question
from rlhf.data.records import Kind, Record

FIELDS = {
    "instruction": "the question",
    "instances": "what the question is about, and the answer: each becomes a record",
    "is_classification": "left out",
}
OVER = ("alpaca",)


def matches(fields: Fields) -> bool:
    """An instruction with instances."""
    return {"instruction", "instances"} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    for number, instance in enumerate(list_of(fields, "instances")):
        if not isinstance(instance, dict):
            raise BadRecord("wrong_type", f"instances[{number}] must be an object, found {type_name(instance)}")
        asked = question({"instruction": fields["instruction"], "input": instance.get("input", "")})
        answer = {"response": instance["output"]} if "output" in instance else {}
        yield from standard_records({"prompt": asked, **answer}, kind)
