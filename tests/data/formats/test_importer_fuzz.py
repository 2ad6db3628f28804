"""Whatever JSON a file holds, it becomes records or a sentence."""

# One record a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf.data import importers
from rlhf.data.files.values import BadRecord
from rlhf.data.formats.parse import parse
from rlhf.data.records import Comparison, Demonstration, Document, Kind, Labelled, Prompt, Ranking, StepLabelled
from tests.data.formats.format_examples import (
    EXAMPLES,
    read,
)

LEAVES = st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["hi", "yo", "\n\nHuman: hi\n\nAssistant: yo", "[[", '[{"from": "human", "value": "hi"}]', "\ud800", "user", "gpt", "tool", "0", "true"]
)  # fmt: skip
KEYS = st.sampled_from(
    sorted({name for one in importers.each() for name in one.fields} | {
        "role", "content", "from", "value", "text", "rank", "replies", "tool_calls", "function", "name", "arguments", "type", "id", "body",
        "result", "selected", "ranker", "to_name", "annotations", "response", "Rating", "images", "weight", "label", "score",
    })
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)  # fmt: skip


def broken(example: Any, path: list[int], value: Any) -> Any:
    """A copy of an example with one value somewhere in it replaced: random objects alone rarely get far."""
    if not path or not isinstance(example, dict | list) or not example:
        return value
    keys = list(example) if isinstance(example, dict) else list(range(len(example)))
    key = keys[path[0] % len(keys)]
    copy = example.copy()
    copy[key] = broken(example[key], path[1:], value)
    return copy


def check(value: Any, kind: Kind, format: str) -> None:
    for found in parse(value, kind, format):
        if isinstance(found, BadRecord):
            assert found.reason and str(found) and "\n" not in str(found)
        elif isinstance(found, Prompt):
            assert kind == "prompts"
        else:
            judged = Comparison | Ranking
            expected = {
                "demonstrations": Demonstration,
                "labels": Labelled | judged,
                "comparisons": judged,
                "steps": StepLabelled,
            }
            assert isinstance(found, expected.get(kind, Document | Demonstration))
            if isinstance(found, Demonstration):
                assert len(found.learnt) == sum(message["role"] == "assistant" for message in found.messages())
                assert found.response or found.extras
            if isinstance(found, StepLabelled):
                assert len(found.steps) == len(found.labels) > 0 and all(map(str.strip, found.steps))
                assert all(label is None or 0 <= label <= 1 for label in found.labels)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.dictionaries(KEYS, VALUES, max_size=8) | VALUES, kind=st.sampled_from(get_args(Kind)))
def test_any_json_becomes_records_or_a_sentence(value: Any, kind: Kind) -> None:
    for name in importers.names():
        check(value, kind, name)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(EXAMPLES)),
    path=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    value=VALUES,
    kind=st.sampled_from(get_args(Kind)),
)
def test_an_example_with_a_fault_becomes_records_or_a_sentence(
    name: str, path: list[int], value: Any, kind: Kind
) -> None:
    for format in ("auto", name):
        check(broken(EXAMPLES[name][0], path, value), kind, format)


def test_nesting_without_end_is_a_sentence() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert read({"prompt": "hi", "response": "yo", "unheard_of": deep}, "demonstrations") == ["wrong_type"]
