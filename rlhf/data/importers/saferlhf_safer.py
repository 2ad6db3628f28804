"""PKU-SafeRLHF, ranked by its second label: which answer is safer. Only where it is named, see `saferlhf`."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf.data.formats.fields import Fields
from rlhf.data.importers import saferlhf
from rlhf.data.records import Kind, Record

FIELDS = saferlhf.FIELDS
DETECTED = False


def matches(fields: Fields) -> bool:
    """Two answers and the number of the safer one."""
    return {*saferlhf.RESPONSES, saferlhf.SAFER} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    yield from saferlhf.ranked_by(saferlhf.SAFER, fields, kind)
