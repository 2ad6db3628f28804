"""Transcripts of HH-RLHF (Bai et al. 2022): `\\n\\nHuman: …\\n\\nAssistant: …`, whole or cut in front of the answer."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.answers import is_complete, standard_records
from rlhf.data.formats.conversations import CONTEXT
from rlhf.data.formats.fields import Fields
from rlhf.data.records import Kind, Record

FIELDS = {
    "chosen": "the transcript with the better answer",
    "rejected": "the transcript with the worse answer",
    "prompt": "the transcript up to the answer, where it was split off",
    "response": "a transcript, or the answer alone",
    "completion": "another name of response",
    "responses": "answers with their ranks",
    **CONTEXT,
}


def matches(fields: Fields) -> bool:
    """Some field is a transcript."""
    names = ("prompt", "chosen", "rejected", "response", "completion")
    return any(isinstance(fields.get(name), str) and is_complete(fields[name]) for name in names)


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    yield from standard_records(fields, kind)
