"""Whether a value that was read from a file has the type that the code relies on."""

from __future__ import annotations

import math
import types
from functools import cache
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type: plain types, unions, `list[X]`, `dict[str, X]`, and `TypedDict`, of which
    optional keys may be missing, and others present. A float is a finite number or a whole one; a bool is none.
    """
    if hint is Any:
        return True
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if is_typeddict(hint):
        return isinstance(value, dict) and all(
            fits(value[name], part) if name in value else optional for name, part, optional in _keys(hint)
        )
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return _is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, hint)


@cache
def _keys(hint: Any) -> list[tuple[str, Any, bool]]:
    """Name, type and whether it may be missing, of each key of a `TypedDict`. `__required_keys__` can't be used:
    where annotations are texts, it takes all for required."""
    found = get_type_hints(hint, include_extras=True)
    marked = {name for name, part in found.items() if get_origin(part) is NotRequired}
    return [(n, get_args(p)[0] if n in marked else p, n in marked or not hint.__total__) for n, p in found.items()]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
