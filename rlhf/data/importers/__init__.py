"""Data formats: each file of this folder reads one, and a new file is found without a change anywhere else.

A module of this folder, or one that an installed package names under the entry point `rlhf_lab.importers`, has

- `FIELDS`: the fields that it reads or knowingly leaves out, each with its meaning; any other one that could change the
  meaning of a record stops the run (`rlhf/data/formats/meaning.py`); `*` stands for all of them;
- `matches(fields)`: whether a record is written in this format, told by its fields;
- `parse(fields, kind)`: an iterator of its records, of `kind` or a richer one, which raises `BadRecord`;
- `OVER`, if need be: names of more general formats that claim its records too; `("*",)`: of all;
- `KINDS`, if need be: the kinds of records that it is asked for; all, where it is left out;
- `DETECTED = False`, if `data.format` has to name it;
- `NOTE`, if need be: a sentence that is said once when the format was detected and not named.

Where two formats claim a record and neither is `OVER` the other, the record is refused with both names. Every format
is over `jsonl`, the lab's own fields.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import get_args

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.fields import Fields, listed
from rlhf.data.records import Kind, Record
from rlhf.errors import DataError, nearest

GROUP = "rlhf_lab.importers"
GENERAL = "jsonl"


@dataclass(frozen=True)
class Importer:
    """A format; see the module's text."""

    name: str
    fields: Mapping[str, str]
    matches: Callable[[Fields], bool]
    parse: Callable[[Fields, Kind], Iterable[Record | BadRecord]]
    over: tuple[str, ...] = ()
    kinds: tuple[str, ...] = get_args(Kind)
    note: str = ""
    detected: bool = True

    def is_over(self, other: Importer) -> bool:
        """Whether a record that both claim is this one's."""
        special = self.name != GENERAL and other.name == GENERAL
        return special or other.name in self.over or ("*" in self.over and "*" not in other.over)


@cache
def _modules() -> dict[str, str]:
    """Import paths by name; nothing is imported yet."""
    found = {module.name: f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)}
    for point in entry_points(group=GROUP):
        if found.setdefault(point.name, point.value) != point.value:
            raise DataError(
                f"data.format: two importers have the name {point.name}: {found[point.name]}, {point.value}"
            )
    return found


def names() -> tuple[str, ...]:
    """What `data.format` may be."""
    return ("auto", *sorted(_modules()))


@cache
def importer(name: str) -> Importer:
    """The format of a name.

    Raises:
        DataError: there is none, or its module lacks something.
    """
    if name not in _modules():
        raise DataError(f"data.format: {name!r} is not one of {', '.join(names())}{nearest(name, names())}")
    module = importlib.import_module(_modules()[name])
    for needed in ("FIELDS", "matches", "parse"):
        if not hasattr(module, needed):
            raise DataError(f"data.format: the importer {name} ({module.__name__}) has no {needed}")
    return Importer(
        name,
        module.FIELDS,
        module.matches,
        module.parse,
        tuple(getattr(module, "OVER", ())),
        tuple(getattr(module, "KINDS", get_args(Kind))),
        getattr(module, "NOTE", ""),
        getattr(module, "DETECTED", True),
    )


@cache
def _detected(known: tuple[str, ...], kind: Kind) -> tuple[Importer, ...]:
    """Formats that a record whose format is not named may have, by name: asked for with every record."""
    return tuple(one for one in map(importer, sorted(known)) if one.detected and kind in one.kinds)


def claimants(fields: Fields, kind: Kind) -> list[Importer]:
    """The formats that claim a record, without those that another claimant is over."""
    found = [one for one in _detected(tuple(_modules()), kind) if one.matches(fields)]
    return [one for one in found if not any(other.is_over(one) for other in found if other is not one)]


def detect(fields: Fields, kind: Kind) -> Importer | None:
    """The format that a record is written in; `None` where none is known.

    Raises:
        BadRecord: two formats claim it.
    """
    found = claimants(fields, kind)
    if len(found) > 1:
        both = " and ".join(one.name for one in found)
        raise BadRecord("wrong_format", f"{both} both claim it; name one with data.format=; {listed(fields)}")
    return found[0] if found else None


def each() -> Iterator[Importer]:
    """Every format, by name."""
    return map(importer, sorted(_modules()))
