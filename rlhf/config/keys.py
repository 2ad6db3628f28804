"""One place for a key's default, range, comment and source: dataclass metadata that everything else reads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints


@dataclass(frozen=True)
class KeyInfo:
    """What a key means and what it may be; `None` means that there is no such bound."""

    help: str
    ge: float | None = None
    le: float | None = None
    gt: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] | None = None
    unit: str | None = None
    source: str | None = None

    @property
    def allowed(self) -> str:
        """`≥ 0, < 1` or `a | b`; an empty string where anything of the right type goes."""
        bounds = (("≥", self.ge), (">", self.gt), ("≤", self.le), ("<", self.lt))
        numbers = ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
        return " or ".join(part for part in (" | ".join(self.choices or ()), numbers) if part)

    @property
    def domain(self) -> str:
        """Unit and range: `nats/token, > 0`."""
        return ", ".join(part for part in (self.unit, self.allowed) if part)

    def accepts(self, value: float | str) -> bool:
        """Whether a value that is not null lies within the range or among the choices."""
        if self.choices is not None and isinstance(value, str):
            return value in self.choices
        if isinstance(value, (str, bool)):
            return True
        return (
            math.isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )


def key(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
    unit: str | None = None,
    source: str | None = None,
) -> Any:
    """A dataclass field with its documentation.

    Args:
        default: the value, or a callable that makes it (for containers).
        help: what the key does, in a few words.
        ge, le, gt, lt: bounds for numbers. `choices`: what a word may be. `unit`: what a number counts.
        source: where the default comes from.
    """
    metadata = {"key": KeyInfo(help, ge, le, gt, lt, choices, unit, source)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """A field of a configuration class, by its dotted name."""

    name: str
    info: KeyInfo
    annotation: Any
    default: Any


@cache
def type_hints(cls: type) -> dict[str, Any]:
    """Resolved type hints; cached because `validate` asks for them at every point of a sweep."""
    return get_type_hints(cls)


def keys(config: Any, prefix: str = "") -> Iterator[Key]:
    """Every leaf key of a configuration class or instance, depth first, in the order of its definition."""
    cls = config if isinstance(config, type) else type(config)
    for field in dataclasses.fields(cls):
        name = f"{prefix}{field.name}"
        annotation = type_hints(cls)[field.name]
        value = getattr(config, field.name, None)
        section = type(value) if dataclasses.is_dataclass(value) else annotation
        if dataclasses.is_dataclass(section):
            yield from keys(value if not isinstance(config, type) else section, f"{name}.")
        else:
            default = field.default_factory() if callable(field.default_factory) else field.default
            yield Key(name, field.metadata["key"], annotation, default)


def lookup(config: Any, name: str) -> Any:
    """The value behind a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config
