"""The uninterpreted content at a place of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class BadRecord(Exception):
    """One record can't be used. `reason` is a short name to count by, the message says what is wrong.

    `where` is the place within a line that holds several records.
    """

    def __init__(self, reason: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.reason, self.where = reason, where


@dataclass(frozen=True)
class Raw:
    """What stands at `place` (`file:line`; in tables of columns the row, from 1): a value, or why there is none."""

    place: str
    value: Any = None
    error: BadRecord | None = None
