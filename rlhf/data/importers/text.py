"""Plain text to pretrain on, under `text`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.fields import Fields, text_of
from rlhf.data.records import Document, Kind, Record

FIELDS = {"text": "the text", "*": "what stands beside it says nothing about it"}
KINDS = ("documents",)
OVER = ("*", "unpaired")


def matches(fields: Fields) -> bool:
    """Text, whatever else is there: a document is read for its text alone."""
    return "text" in fields


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    yield Document(text_of(fields, "text"))
