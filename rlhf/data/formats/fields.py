"""Typed access to the fields of a raw value; whatever is wrong with one becomes a sentence that names it."""

from __future__ import annotations

import json
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.records import TAGS, Tags

Fields = dict[str, Any]

EMPTY: tuple[Any, ...] = (None, "", [], {})
"""Values that say nothing: columns of parquet files and of hub data sets exist for every row."""


def present(fields: Fields) -> Fields:
    """The fields that say something, `None` being the one value that never does."""
    return {str(name): value for name, value in fields.items() if value is not None}


def text_of(fields: Fields, name: str, shown: str | None = None) -> str:
    """The text of a field, which may not be empty.

    Args:
        shown: what to call it in the message, where the name alone does not say where it stands.

    Raises:
        BadRecord: it is missing, no text, empty, or holds half a character.
    """
    shown = shown or name
    if name not in fields:
        raise BadRecord("missing_field", f"{shown} is missing; {listed(fields)}")
    text = clean(fields[name], shown)
    if not text.strip():
        raise BadRecord("empty_field", f"{shown} is empty")
    return text


def clean(value: Any, shown: str) -> str:
    """Text as it is, white space included; it may be empty.

    Raises:
        BadRecord: it is no text, or holds half a character.
    """
    if not isinstance(value, str):
        raise BadRecord("wrong_type", f"{shown} must be text, found {type_name(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRecord("not_utf8", f"{shown} holds half a character (a lone surrogate)") from error
    return value


def decoded(value: Any) -> Any:
    """A list or object that stands as text, as tables without nested columns hold them; anything else as it is."""
    if not isinstance(value, str) or not value[:100].lstrip().startswith(("[", "{")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found


def canonical(value: Any) -> str:
    """JSON that is equal for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def truth_of(fields: Fields, name: str, shown: str | None = None) -> bool:
    """A yes or no: true, 1, "true" and "1", or false, 0, "false" and "0".

    Raises:
        BadRecord: it is missing, or something else.
    """
    value = fields.get(name)
    said = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    for answer, words in ((True, ("true", "1", "1.0")), (False, ("false", "0", "0.0"))):
        if said in words:
            return answer
    raise BadRecord("wrong_type", f"{shown or name} must be true or false, found {value!r}"[:200])


def choice_of(fields: Fields, name: str, allowed: tuple[int, ...]) -> int:
    """A whole number out of a few, also where it stands as text.

    Raises:
        BadRecord: it is missing, or something else.
    """
    value = fields.get(name)
    for number in allowed:
        if not isinstance(value, bool) and isinstance(value, int | float | str) and str(value).strip() == str(number):
            return number
    raise BadRecord("wrong_type", f"{name} must be one of {', '.join(map(str, allowed))}, found {value!r}"[:200])


def number_of(value: Any) -> float | None:
    """A number, also where it stands as text; `None` where it is none, or not a finite one."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def list_of(fields: Fields, name: str) -> list[Any]:
    """The items of a field that is a list, also where it stands as text.

    Raises:
        BadRecord: it is missing, or no list.
    """
    value = decoded(fields.get(name))
    if not isinstance(value, list):
        raise BadRecord("wrong_type", f"{name} must be a list, found {type_name(value)}")
    return value


def only(fields: Fields, *names: str) -> Fields:
    """The fields of these names, as far as they are there, and those that a record keeps as its tags."""
    return {name: fields[name] for name in (*names, *TAGS) if name in fields}


def tags_of(fields: Fields) -> Tags:
    """A description in the record; a value that is not text counts as none."""
    return tuple((name, fields[name]) for name in TAGS if isinstance(fields.get(name), str) and fields[name])


def listed(fields: Fields) -> str:
    """`the fields are a, b`, at most a dozen of them."""
    names = list(fields)
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"the fields are {shown or 'none'}"


def type_name(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
