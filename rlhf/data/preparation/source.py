"""Where records come from, one value after another: a file, a folder, or a data set of the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.data.files.raw import BadRecord, Raw
from rlhf.data.files.values import file_sha256
from rlhf.data.formats.meaning import TOLERATED, UNKNOWN_FIELD
from rlhf.data.formats.parse import parse
from rlhf.data.readers import FieldError, OnError, file_values, files_of, hub_values
from rlhf.data.records import Kind, Record
from rlhf.errors import DataError

LOOKED_AT = 200
"""Values of a source that are looked at to tell what it holds."""
RICHEST: tuple[Kind, ...] = ("comparisons", "labels", "steps", "demonstrations", "prompts", "documents")
"""Kinds that a source may hold, the richest first: each can be read as those that come later, but documents."""
_LICENCE = re.compile(r"^\s*licen[cs]e\s*:\s*[\"']?([^\n,;(\"']{2,60}?)(?:[,;(\"']|\.?\s*$|\. )", re.I | re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """One source and how it is read.

    Attributes:
        name: unique among the sources.
        weight: how often its training records count.
        licence: as given; `None`: look for one beside the file.
        hub: whether `path` names a data set of the hub.
        columns: names of the lab's fields, and those that they have there (`a.b`: `b` within `a`).
        split, subset: of a hub data set or a folder. limit: read only so many records; `None`: all.
        listed: what the card calls it, where that is not `path`.
    """

    path: str
    name: str
    weight: float = 1.0
    licence: str | None = None
    hub: bool = False
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    split: str | None = None
    subset: str | None = None
    limit: int | None = None
    listed: str | None = None

    @property
    def shown(self) -> str:
        """In messages."""
        return f"source {self.name} ({self.path})"

    def values(self, kind: Kind) -> Iterator[Raw]:
        """Every value in order.

        Raises:
            DataError: the source as a whole can't be read.
        """
        if self.hub:
            return hub_values(self.path, self.split or "train", self.subset)
        path = Path(self.path)
        return file_values(files_of(path / self.subset if self.subset else path, self.split), kind)

    def records(self, raw: Raw, kind: Kind, fields: Mapping[str, str]) -> Iterator[Record | BadRecord]:
        """What stands in one value.

        Args:
            fields: what travels with prompts.
        """
        if raw.error is not None:
            yield raw.error
            return
        try:
            value = self._renamed(raw.value)
        except BadRecord as error:
            yield error
            return
        yield from parse(value, kind, self.format, self.ignore, fields)

    def _renamed(self, value: Any) -> Any:
        if not self.columns:
            return value
        if not isinstance(value, dict):
            raise BadRecord("wrong_type", "columns name fields, and this value is no object")
        found = {name: held for name, held in value.items() if name not in self.columns.values()}
        for ours, theirs in self.columns.items():
            held: Any = value
            for part in [theirs] if theirs in value else theirs.split("."):
                if not isinstance(held, dict) or part not in held:
                    raise BadRecord("missing_field", f"{theirs} is missing, which columns reads as {ours}")
                held = held[part]
            found[ours] = held
        return found

    def sha256(self) -> str | None:
        """Of the file or folder; `None` for a data set of the hub."""
        return None if self.hub else file_sha256(self.path)

    def found_licence(self) -> str:
        """The licence that was given or that a README beside the file names; `unknown` where there is none."""
        if self.licence is not None:
            return self.licence
        path = Path(self.path)
        for readme in () if self.hub else ((path if path.is_dir() else path.parent) / name for name in ("README.md",)):
            if readme.is_file() and (found := _LICENCE.search(readme.read_text(encoding="utf-8", errors="replace"))):
                return f"{found[1].strip()} (by its README)"
        return "unknown"


def check(error: BadRecord, place: str, on_error: OnError) -> str:
    """What is wrong with a record that can't be used, as `file:line: …`.

    Raises:
        DataError: it stops the run.
    """
    message = f"{place}{', ' if error.where else ''}{error.where}: {error}"
    if error.reason == UNKNOWN_FIELD:
        raise FieldError(message) from error
    if on_error == "stop" and error.reason not in TOLERATED:
        raise DataError(message) from error
    return message


def kind_of_source(source: Source, fields: Mapping[str, str] | None = None) -> Kind:
    """The richest kind of records that the first values of a source hold.

    Args:
        fields: what travels with prompts; where they are missing, reading says so.

    Raises:
        DataError: none of them can be read as anything.
    """
    seen: list[Raw] = []
    for raw in source.values("comparisons"):
        seen.append(raw)
        if len(seen) == LOOKED_AT:
            break
    first = ""
    tries: list[tuple[Kind, Mapping[str, str]]] = [(kind, fields or {}) for kind in RICHEST]
    if fields:
        tries.append(("prompts", {}))
    for kind, taken in tries:
        for raw in seen:
            for found in source.records(raw, kind, taken):
                if not isinstance(found, BadRecord):
                    return kind
                first = first or f"{raw.place}: {found}"
                if found.reason == UNKNOWN_FIELD:
                    raise FieldError(f"{raw.place}: {found}")
    raise DataError(
        f"{source.shown}: no records in it" + (f"; the first that was left out is {first}" if first else "")
    )


def common_kind(
    sources: list[Source], fields: Mapping[str, str] | None = None, more: Mapping[str, Kind] | None = None
) -> Kind:
    """The kind that all sources hold.

    Args:
        fields: of `kind_of_source`. more: sources whose kinds are known, by name.

    Raises:
        DataError: they hold different ones.
    """
    kinds = {source.name: kind_of_source(source, fields) for source in sources} | dict(more or {})
    if len({*kinds.values()}) == 1:
        return next(iter(kinds.values()))
    held = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    poorest = max(kinds.values(), key=RICHEST.index)
    says = {
        "demonstrations": "kind=demonstrations imitates the chosen answers of comparisons",
        "prompts": "kind=prompts keeps the questions alone",
        "documents": "kind=documents takes conversations as texts",
        "steps": "kind=prompts keeps the questions alone",
        "labels": "kind=labels takes both answers of a comparison with their labels",
    }
    raise DataError(f"kind: the sources hold different ones ({held}); {says[poorest]}, or leave some of them out")
