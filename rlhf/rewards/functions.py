"""Functions that check answers: each returns a number for each completion, 1 for a right one.

They are called like a user's own functions, by keywords: `prompts` and `completions`, lists of texts; each of the
record's fields, a list of as many values; and the constants of `reward.arguments`. A function names those it reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

MARK = "####"
"""What stands in front of the final number in GSM8K (Cobbe et al. 2021)."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-"})


def final_number(text: str) -> Decimal | None:
    """The number after the last `####`, else the last number in a text; `None` where there is none.

    Thousands commas are read over; a minus must touch its number, and follow no letter, digit or closing bracket, so
    that `7-3` ends in 3.
    """
    _, mark, after = text.rpartition(MARK)
    part = after.strip().split("\n", 1)[0] if mark else text
    found = list(_NUMBER.finditer(part.translate(_MINUS)))
    if not found:
        return None
    one = found[0] if mark else found[-1]
    digits = one[0]
    if digits[0] in "-+" and one.start() and (part[one.start() - 1].isalnum() or part[one.start() - 1] in ")]"):
        digits = digits[1:]
    try:
        return Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None


def numeric_match(completions: Sequence[str], answer: Sequence[Any], tolerance: float = 0.0) -> list[float]:
    """1 where a completion's final number is the answer's, else 0.

    Args:
        answer: numbers, or texts with their number last, or after `####`.
        tolerance: how far apart they may be.

    Raises:
        ValueError: an answer holds no number.
    """
    marks = []
    for said, reference in zip(completions, answer, strict=True):
        wanted, found = final_number(str(reference)), final_number(said)
        if wanted is None:
            raise ValueError(f"the answer {str(reference)[:80]!r} holds no number")
        marks.append(float(found is not None and abs(found - wanted) <= Decimal(str(tolerance))))
    return marks


def exact_match(completions: Sequence[str], answer: Sequence[Any], ignore_case: bool = False) -> list[float]:
    """1 where a completion is the answer, white space at the ends aside, else 0."""

    def plain(value: Any) -> str:
        text = str(value).strip()
        return text.casefold() if ignore_case else text

    return [float(plain(said) == plain(wanted)) for said, wanted in zip(completions, answer, strict=True)]


def regex_match(completions: Sequence[str], pattern: str, whole: bool = False) -> list[float]:
    """1 where a regular expression matches, else 0.

    Args:
        pattern: as Python's `re` reads it; `.` matches line breaks too.
        whole: the whole completion, white space at the ends aside, instead of any part of it.

    Raises:
        ValueError: `pattern` is none.
    """
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression ({error})") from error
    return [
        float((compiled.fullmatch(said.strip()) if whole else compiled.search(said)) is not None)
        for said in completions
    ]


def json_schema(completions: Sequence[str], schema: Any = None) -> list[float]:
    """1 where a completion is JSON, and follows a schema where one is given, else 0; a fence of ``` is read over.

    Args:
        schema: a JSON Schema, as a mapping or as JSON; needs the package jsonschema.

    Raises:
        ValueError: `schema` is none, or the package is not installed.
    """
    validator: Any = None
    if schema is not None:
        try:
            import jsonschema
        except ImportError as error:
            raise ValueError("a schema needs the package jsonschema; pip install -e '.[schema]'") from error
        content = json.loads(schema) if isinstance(schema, str) else schema
        cls = jsonschema.validators.validator_for(content)
        try:
            cls.check_schema(content)
        except jsonschema.SchemaError as error:
            raise ValueError(f"schema is no JSON Schema ({error.message})") from error
        validator = cls(content)
    return [_follows(said, validator) for said in completions]


def _follows(said: str, validator: Any) -> float:
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", said, re.DOTALL)
    try:
        content = json.loads(fenced[1] if fenced is not None else said)
    except (ValueError, RecursionError):
        return 0.0
    return float(validator is None or validator.is_valid(content))


def length_band(
    completions: Sequence[str], low: int = 0, high: int | None = None, unit: str = "words", slack: float = 0.0
) -> list[float]:
    """1 where a completion's length lies within [low, high], falling to 0 over `slack` on both sides.

    Args:
        low, high: in `unit`; high `None`: no upper end.
        unit: `words` (split at white space) or `characters`.
        slack: in `unit`, ≥ 0; 0: nothing but 1 and 0.

    Raises:
        ValueError: an impossible band or unit.
    """
    if unit not in ("words", "characters") or slack < 0 or low < 0 or (high is not None and high < low):
        raise ValueError(f"low={low}, high={high}, unit={unit!r}, slack={slack} is no band of words or characters")
    marks = []
    for said in completions:
        length = len(said.split()) if unit == "words" else len(said)
        outside = max(low - length, 0 if high is None else length - high, 0)
        marks.append(1.0 if outside == 0 else max(0.0, 1 - outside / slack) if slack else 0.0)
    return marks
