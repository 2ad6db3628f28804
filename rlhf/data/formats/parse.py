"""One raw value becomes records of the kind that a stage asks for, whatever of the known formats it is written in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import NEEDED, Missing, missing
from rlhf.data.formats.conversations import is_messages
from rlhf.data.formats.fields import Fields, canonical, decoded, listed, present, type_name
from rlhf.data.formats.meaning import UNDESIRABLE, check_understood
from rlhf.data.importers import Importer, detect, importer
from rlhf.data.records import (
    Demonstration,
    Document,
    Kind,
    Labelled,
    Prompt,
    Record,
    StepLabelled,
    as_demonstration,
    prompt_of,
)


def parse(
    value: Any,
    kind: Kind,
    format: str = "auto",
    ignore: Collection[str] = (),
    wanted: Mapping[str, str] | None = None,
) -> Iterator[Record | BadRecord]:
    """The records of `kind` in a raw value, in order, and what is wrong with those that can't be read.

    A richer record serves a poorer kind: the best answer of a comparison is a demonstration, its answers have labels,
    the prompt of anything is a prompt, whole conversations are documents. What is labelled undesirable is never
    imitated.

    Args:
        format: a name of `importers.names()`; `auto` looks at the fields.
        ignore: fields that count as if they were not there.
        wanted: fields that travel with the prompt as they are: names there, and names in the value. Records of prompts
            must have them, others may.
    """
    try:
        fields = _fields(value, kind, ignore)
        chosen = _choose(fields, kind, format)
        yield from _parse(fields, kind, chosen, wanted or {})
    except BadRecord as error:
        yield error
    except RecursionError:
        yield BadRecord("wrong_type", "lists or objects within each other, too deep to be read")


def _parse(fields: Fields, kind: Kind, chosen: Importer, wanted: Mapping[str, str]) -> Iterator[Record | BadRecord]:
    understood = False
    known = {*chosen.fields, *wanted.values()}
    try:
        for record in chosen.parse(fields, kind):
            if isinstance(record, BadRecord):
                yield record
                continue
            try:
                found = from_record(record, kind, fields)
            except BadRecord as error:
                yield error
                continue
            if not understood:  # what is missing is said first: it is the plainer fault
                check_understood(fields, known, verdicts=kind != "prompts", format=chosen.name)
                understood = True
            try:
                _carry(found, fields, kind, wanted)
            except BadRecord as error:
                yield error
                continue
            yield found
    except Missing:
        yield missing(fields, kind)  # with the names that stand in the file


SYNTHETIC = "synthetic"
"""The field that says which model wrote a record."""


def _carry(record: Record, fields: Fields, kind: Kind, wanted: Mapping[str, str]) -> None:
    """Give a record's prompt the fields that are wanted, and what says that a model wrote it.

    Raises:
        BadRecord: one is missing in a record of prompts.
    """
    prompt = prompt_of(record)
    mark = decoded(fields.get(SYNTHETIC))
    if isinstance(mark, dict) and mark:
        object.__setattr__(prompt or record, "synthetic", canonical(mark))  # frozen, but not shared yet
    if prompt is None or not wanted:
        return
    for name, there in wanted.items():
        if there not in fields and kind == "prompts":
            raise BadRecord(
                "missing_field", f"{there} is missing, which data.fields passes on as {name}; {listed(fields)}"
            )
    found = {name: fields[there] for name, there in wanted.items() if there in fields}
    object.__setattr__(prompt, "fields", found)


def detected(value: Any, kind: Kind, ignore: Collection[str] = ()) -> Importer | None:
    """The format that `auto` reads a value as; `None` if it is unknown."""
    try:
        return _choose(_fields(value, kind, ignore), kind, "auto")
    except (BadRecord, RecursionError):
        return None


def _fields(value: Any, kind: Kind, ignore: Collection[str]) -> Fields:
    if isinstance(value, str):
        value = {"prompts": {"prompt": value}, "documents": {"text": value}}.get(kind, value)
    if is_messages(value):  # a line that is one conversation
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadRecord("wrong_type", f"expected an object with {NEEDED[kind]}, found {type_name(value)}")
    return {name: content for name, content in present(value).items() if name not in ignore}


def _choose(fields: Fields, kind: Kind, format: str) -> Importer:
    if format == "auto":
        found = detect(fields, kind)
        if found is None:
            raise missing(fields, kind)
        return found
    named = importer(format)
    if kind not in named.kinds or not named.matches(fields):
        raise BadRecord("wrong_format", f"not in data.format={format}; {listed(fields)}")
    return named


def from_record(record: Record, kind: Kind, fields: Fields) -> Record:
    """The record of `kind` in one that may be richer.

    Raises:
        BadRecord: it holds less than `kind` needs, or nothing to imitate.
    """
    if kind == "prompts":
        prompt = prompt_of(record)
        if prompt is None:
            raise missing(fields, kind)
        return prompt
    if isinstance(record, StepLabelled) or kind == "steps":
        if isinstance(record, StepLabelled) and kind == "steps":
            return record
        raise missing(fields, kind)
    if kind in ("demonstrations", "documents"):
        if isinstance(record, Document) and kind == "documents":
            return record
        if isinstance(record, Document | Prompt):
            raise missing(fields, kind)
        if isinstance(record, Labelled) and not record.desirable:
            raise BadRecord(UNDESIRABLE, "the label says that the answer is undesirable: it is not imitated")
        return as_demonstration(record)
    if kind == "comparisons" and isinstance(record, Labelled):
        raise BadRecord("missing_field", f"a label on one answer compares nothing; {kind} need {NEEDED[kind]}")
    if isinstance(record, Document | Prompt | Demonstration):
        raise missing(fields, kind)
    return record
