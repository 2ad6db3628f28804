"""PRM800K (Lightman et al. 2023) whose neutral ratings, 0, count as wrong. Only where it is named, see `prm800k`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.fields import Fields
from rlhf.data.importers import prm800k
from rlhf.data.records import Kind, Record

FIELDS = prm800k.FIELDS
KINDS = prm800k.KINDS
DETECTED = False


def matches(fields: Fields) -> bool:
    """A problem, and steps with completions."""
    return prm800k.matches(fields)


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    yield from prm800k.parse(fields, kind, neutral=0.0)
