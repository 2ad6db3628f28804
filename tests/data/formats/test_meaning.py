"""Tools, weights, parts and fields of records: what changes the meaning is kept or stops the run by name."""

# One record a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import json
from typing import Any

import pytest

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.fields import canonical
from rlhf.data.formats.meaning import NOTHING_LEARNT, UNKNOWN_FIELD
from rlhf.data.formats.parse import parse
from rlhf.data.records import Demonstration, Kind, Prompt
from tests.data.formats.format_examples import (
    CHAT,
    HI,
    TALK,
    from_,
    read,
    says,
)

CALL = {"name": "add", "arguments": {"a": 2}}
TOOL = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
CALLED = canonical({"tool_calls": [{"type": "function", "function": CALL}]})
TOOLS = canonical([{"type": "function", "function": TOOL}])


@pytest.mark.parametrize(
    "value",
    [
        {"conversations": [from_("human", "2+2?"), from_("function_call", json.dumps(CALL)), from_("observation", "4"), from_("gpt", "It is 4.")],
         "tools": json.dumps([TOOL])},
        {"messages": [says("user", "2+2?"), says("assistant", None, tool_calls=[{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]),
                      says("tool", "4"), says("assistant", "It is 4.")], "tools": [{"type": "function", "function": TOOL}]},
        {"messages": [says("user", "2+2?"), says("assistant", "", function_call=CALL), says("function", "4"), says("assistant", "It is 4.")],
         "tools": [TOOL]},
    ],
)  # fmt: skip
def test_tools_and_calls_are_kept(value: dict[str, Any]) -> None:
    turns = (("user", "2+2?"), ("assistant", ""), ("tool", "4"))
    assert read(value, "demonstrations") == [Demonstration(Prompt(turns, TOOLS, ((1, CALLED),)), "It is 4.")]


def test_a_call_can_be_the_answer_and_stands_in_one_turn_with_what_is_said() -> None:
    talk = [from_("human", "2+2?"), from_("gpt", "Let me see."), from_("function_call", json.dumps(CALL))]
    assert read({"conversations": talk}, "demonstrations") == [
        Demonstration(Prompt.of("2+2?"), "Let me see.", extras=CALLED)
    ]
    assert read({"conversations": [talk[0], from_("function_call", "no json")]}, "demonstrations") == ["bad_tool_call"]
    assert read({"messages": CHAT, "tools": "none"}, "demonstrations") == ["wrong_type"]


def test_weights_of_turns_are_kept() -> None:
    talk = [says("user", "a"), says("assistant", "b", weight=0), *CHAT]
    assert read({"messages": talk}, "demonstrations") == [Demonstration(TALK, "yo", (0, 1))]
    assert read({"messages": [CHAT[0], says("assistant", "yo", loss=False)]}, "demonstrations") == [NOTHING_LEARNT]
    assert read({"messages": [CHAT[0], says("assistant", "yo", weight=0.5)]}, "demonstrations") == ["wrong_type"]


def test_parts_that_are_text_are_joined_and_others_refused_by_name() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert read({"messages": [says("user", parts), CHAT[1]]}, "demonstrations") == [Demonstration(HI, "yo")]  # type: ignore[arg-type]
    (error,) = parse(
        {"messages": [says("user", [*parts, {"type": "image_url", "image_url": {}}]), CHAT[1]]}, "demonstrations"
    )  # type: ignore[arg-type]
    assert isinstance(error, BadRecord) and error.reason == "not_text"
    assert "messages[0].content[2]" in str(error) and "image_url" in str(error)


UNDERSTOOD = [
    ({"model": "m", "created_at": 3, "my_number": 0.5, "flag": True, "note": "a\nb" * 90}, "demonstrations"),
    ({"system": "", "history": [], "tools": [], "images": [], "score": None, "weight": 1}, "demonstrations"),
    ({"mood": "cheerful", "link": "https://example.org/" + "a" * 200}, "demonstrations"),
    ({"label": "unsafe", "score": 3, "rejected": "x", "rating": 3}, "prompts"),
]
CHANGING = [
    *(({name: value}, "demonstrations") for name, value in {
        "score": 3, "weight": 0.5, "rating": 2, "reward": 1.0, "rejected": "no", "label": 0.5, "messages_b": CHAT, "images": ["a.png"],
        "Context": "Paris", "reasoning-content": "x", "my_notes": "one\ntwo", "briefing": "x" * 101, "turn": {"role": "user", "said": "x"},
    }.items()),
    ({"quality": 1.5, "chosen": "yo", "rejected": "no"}, "comparisons"),
    ({"images": ["a.png"]}, "prompts"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "kind"), UNDERSTOOD)
def test_fields_without_a_meaning_pass(more: dict[str, Any], kind: Kind) -> None:
    (found,) = read({"prompt": "hi", "response": "yo", **more}, kind)
    assert not isinstance(found, str)


@pytest.mark.parametrize(("more", "kind"), CHANGING, ids=[next(iter(more)) for more, _ in CHANGING])
def test_fields_that_could_change_the_meaning_stop_unless_they_are_ignored(more: dict[str, Any], kind: Kind) -> None:
    value = {"prompt": "hi", **({} if "chosen" in more else {"completion": "yo"}), **more}
    name = next(iter(more))
    (error,) = parse(value, kind)
    assert isinstance(error, BadRecord) and name in str(error)
    if name != "label":  # a label is a format of its own, and this is none of its values
        assert error.reason == UNKNOWN_FIELD and f"data.ignore=[{name}]" in str(error)
    (found,) = read(value, kind, ignore=[name])
    assert not isinstance(found, str)


def test_fields_of_messages_stop_too() -> None:
    (error,) = parse({"messages": [CHAT[0], says("assistant", "yo", reasoning_content="hm")]}, "demonstrations")
    assert (
        isinstance(error, BadRecord) and error.reason == UNKNOWN_FIELD and "messages[1].reasoning_content" in str(error)
    )
