"""Questions of MT-Bench (Zheng et al. 2023): `turns`, of which the first is the prompt.

The later ones are about the model's own answer to the first, so they are no prompts on their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import missing
from rlhf.data.formats.fields import Fields, clean, list_of
from rlhf.data.records import Kind, Prompt, Record

FIELDS = {
    "turns": "the user's questions, one after the other",
    "reference": "answers to them: left out",
}
NOTE = "MT-Bench: the first turn of each question is the prompt; later ones need the model's own answer to it"


def matches(fields: Fields) -> bool:
    """A list of texts called turns."""
    turns = fields.get("turns")
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, str) for turn in turns)


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    if kind != "prompts":
        raise missing(fields, kind)
    text = clean(list_of(fields, "turns")[0], "turns[0]")
    if not text.strip():
        raise BadRecord("empty_field", "turns[0] is empty")
    yield Prompt.of(text)
