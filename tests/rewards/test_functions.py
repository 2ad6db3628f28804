"""What the lab's own functions call right."""

from __future__ import annotations

import importlib.util
from decimal import Decimal

import pytest

from rlhf.rewards.functions import (
    exact_match,
    final_number,
    json_schema,
    length_band,
    numeric_match,
    regex_match,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", "12"),
        ("3 + 4 = 7.", "7"),
        ("so it is 1,234,567", "1234567"),
        ("x = -3.50 dollars", "-3.5"),
        ("7-3", "3"),
        ("f(2)-1", "1"),
        ("= −4", "-4"),
        ("costs $1,000.", "1000"),
        (".5 or so", "0.5"),
        ("first 3\n#### 72\nand 5 more", "72"),
        ("#### 1\n#### $2,500 in 3 days", "2500"),
        ("#### none", None),
        ("no number", None),
        ("", None),
    ],
)
def test_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Decimal(number))


def test_numeric_match_reads_answers_of_gsm8k() -> None:
    answer = ["48/2 = <<48/2=24>>24 clips\n#### 1,072", "#### 5", 3]
    assert numeric_match(["It is 1072.0", "5 and 6", "3"], answer) == [1.0, 0.0, 1.0]
    assert numeric_match(["0.334"], ["0.333"], tolerance=0.001) == [1.0]
    assert numeric_match(["nothing"], [0]) == [0.0]


def test_an_answer_without_a_number_is_a_fault_of_the_data() -> None:
    with pytest.raises(ValueError, match="forty"):
        numeric_match(["40"], ["forty"])


def test_exact_match() -> None:
    assert exact_match([" Paris\n", "paris", "Paris!"], ["Paris"] * 3) == [1.0, 0.0, 0.0]
    assert exact_match(["paris"], ["Paris"], ignore_case=True) == [1.0]


def test_regex_match() -> None:
    said = ["yes, a\nb", "no"]
    assert regex_match(said, r"a.b") == [1.0, 0.0]
    assert regex_match(said, r"\w+", whole=True) == [0.0, 1.0]
    with pytest.raises(ValueError, match="regular expression"):
        regex_match([], "(")


def test_json_without_a_schema() -> None:
    assert json_schema(['{"a": 1}', "```json\n[1]\n```", "{a: 1}", ""]) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="jsonschema is not installed")
def test_json_with_a_schema() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert json_schema(['{"a": 1}', '{"a": "1"}', "[]"], schema) == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="JSON Schema"):
        json_schema([], {"type": "nothing"})


def test_length_band() -> None:
    said = ["a", "a b", "a b c d", "a b c d e f"]
    assert length_band(said, low=2, high=4) == [0.0, 1.0, 1.0, 0.0]
    # One word short of two and two beyond four, of a slack of four.
    assert length_band(said, low=2, high=4, slack=4) == [0.75, 1.0, 1.0, 0.5]
    assert length_band(["abc"], high=2, unit="characters") == [0.0]
    with pytest.raises(ValueError, match="no band"):
        length_band([], low=3, high=2)
