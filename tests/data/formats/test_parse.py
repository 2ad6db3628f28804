"""Every format that is known, and every way a line can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.data.files.values import BadRecord
from rlhf.data.formats import parse as formats
from rlhf.data.formats.meaning import DIFFER
from rlhf.data.records import Comparison, Demonstration, Document, Prompt, Ranking, Record

HI = Prompt.of("hi")


def parse(value: Any, kind: Any, format: str = "auto", ignore: tuple[str, ...] = ()) -> Record:
    """The only record in a value; raises what is wrong with it."""
    (found,) = formats.parse(value, kind, format, ignore)
    if isinstance(found, BadRecord):
        raise found
    return found


TALK = Prompt((("user", "hi"), ("assistant", "hello"), ("user", "and?")))
USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
AND, WELL = {"role": "user", "content": "and?"}, {"role": "assistant", "content": "well"}
BAD = {"role": "assistant", "content": "bad"}
RANKED = [{"text": "b", "rank": 2}, {"text": "a", "rank": 1}]
HH = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant: "


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # White space is content: indentation is what makes code right.
        ({"prompt": " hi\n", "response": "    hello "}, Demonstration(Prompt.of(" hi\n"), "    hello ")),
        (
            {"messages": [USER | {"content": "\thi "}, REPLY | {"content": "\n  x\r\n"}]},
            Demonstration(Prompt.of("\thi "), "\n  x\r\n"),
        ),
        ({"prompt": "hi", "completion": "hello"}, Demonstration(HI, "hello")),
        ({"prompt": [USER], "completion": [REPLY]}, Demonstration(HI, "hello")),
        ({"messages": [USER, REPLY]}, Demonstration(HI, "hello")),
        ({"messages": [USER, REPLY, AND, WELL]}, Demonstration(TALK, "well")),
        (
            {"messages": [{"role": "system", "content": "s"}, USER, REPLY]},
            Demonstration(Prompt((("system", "s"), ("user", "hi"))), "hello"),
        ),
        ({"prompt": "hi", "chosen": "a", "rejected": "b"}, Demonstration(HI, "a")),
        ({"prompt": "hi", "responses": RANKED}, Demonstration(HI, "a")),
        ({"prompt": "hi", "response": "own", "chosen": "a", "rejected": "b"}, Demonstration(HI, "own")),
        # Nobody compared the earlier answers: they are context.
        ({"chosen": HH + "well", "rejected": HH + "bad"}, Demonstration(TALK, "well", (0, 1))),
        # A null column says nothing.
        ({"prompt": "hi", "response": None, "completion": "hello"}, Demonstration(HI, "hello")),
    ],
)
def test_demonstrations(value: dict[str, Any], expected: Demonstration) -> None:
    assert parse(value, "demonstrations") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt": "hi", "chosen": " a", "rejected": "b "}, Comparison(HI, " a", "b ")),
        ({"prompt": "hi", "chosen": "  a", "rejected": "a"}, Comparison(HI, "  a", "a")),
        ({"prompt": "hi", "responses": RANKED}, Ranking(HI, ("b", "a"), (2, 1))),
        ({"chosen": HH + "well", "rejected": HH + "bad"}, Comparison(TALK, "well", "bad")),
        ({"prompt": [USER], "chosen": [REPLY], "rejected": [BAD]}, Comparison(HI, "hello", "bad")),
        ({"chosen": [USER, REPLY], "rejected": [USER, BAD]}, Comparison(HI, "hello", "bad")),
        # UltraFeedback repeats the prompt as text beside the whole conversations.
        ({"prompt": "hi", "chosen": [USER, REPLY], "rejected": [USER, BAD]}, Comparison(HI, "hello", "bad")),
        # The space after a marker is the transcript's, what follows is the answer's.
        ({"chosen": HH + "  well\n", "rejected": HH + "bad "}, Comparison(TALK, "  well\n", "bad ")),
        # Files that passed through Windows.
        (
            {name: (HH + text).replace("\n", "\r\n") for name, text in (("chosen", "a\nb"), ("rejected", "bad"))},
            Comparison(TALK, "a\r\nb", "bad"),
        ),
        ({"prompt": HH.replace("\n", "\r\n"), "chosen": " well", "rejected": " bad"}, Comparison(TALK, "well", "bad")),
        # HH's prompts split off, as in rm-static.
        ({"prompt": HH, "chosen": " well", "rejected": " bad"}, Comparison(TALK, "well", "bad")),
    ],
)
def test_comparisons(value: dict[str, Any], expected: Comparison | Ranking) -> None:
    assert parse(value, "comparisons") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hi", HI),
        ({"prompt": "hi"}, HI),
        ({"prompt": [USER]}, HI),
        ({"prompt": HH}, TALK),
        ({"messages": [USER, REPLY, AND]}, TALK),
        ({"messages": [USER, REPLY, AND, WELL]}, TALK),
        ({"prompt": "hi", "response": "x"}, HI),
        ({"prompt": "hi", "chosen": "a", "rejected": "a"}, HI),
        ({"prompt": "something else", "chosen": [USER, REPLY], "rejected": [USER, BAD]}, HI),
        # Nobody asks for the answer, so an empty one does no harm.
        ({"chosen": HH, "rejected": HH + "x"}, TALK),
    ],
)
def test_prompts(value: Any, expected: Prompt) -> None:
    assert parse(value, "prompts") == expected


def test_documents() -> None:
    assert parse({"text": " a b\n"}, "documents") == Document(" a b\n")
    assert parse("a b", "documents") == Document("a b")
    assert parse({"prompt": "hi", "response": "x"}, "documents") == Demonstration(HI, "x")
    assert parse({"prompt": "hi", "chosen": "x", "rejected": "y"}, "documents") == Demonstration(HI, "x")


def test_plain_words_that_look_like_headers_are_text() -> None:
    assert parse({"prompt": "Human: hi", "response": "Assistant: x"}, "demonstrations") == Demonstration(
        Prompt.of("Human: hi"), "Assistant: x"
    )
    transcript = "\n\nHuman: say Human: twice\n\nAssistant: Human: Human:"
    assert parse({"chosen": transcript}, "demonstrations") == Demonstration(
        Prompt.of("say Human: twice"), "Human: Human:"
    )


@pytest.mark.parametrize(
    ("kind", "value", "reason", "message"),
    [
        ("demonstrations", ["x"], "wrong_type", "expected an object with prompt with response.*found a list"),
        ("demonstrations", "x", "wrong_type", "found text"),
        ("prompts", 3, "wrong_type", "found a number"),
        ("demonstrations", {}, "missing_field", "the fields are none"),
        ("demonstrations", {"prompt": "a"}, "missing_field", "the fields are prompt"),
        ("demonstrations", {"response": "a"}, "missing_field", "prompt is missing; the fields are response"),
        ("demonstrations", {"prompt": "a", "response": " \n"}, "empty_field", "response is empty"),
        ("demonstrations", {"prompt": "", "response": "a"}, "empty_field", "prompt is empty"),
        ("demonstrations", {"prompt": "a", "response": 3}, "wrong_type", "response must be text, found a number"),
        ("demonstrations", {"prompt": True, "response": "a"}, "wrong_type", "prompt must be text, found a truth"),
        ("demonstrations", {"prompt": "a", "response": "\ud800"}, "not_utf8", "response holds half a character"),
        ("demonstrations", {"messages": [USER]}, "bad_turns", "messages must end with the assistant's turn"),
        ("demonstrations", {"messages": [REPLY]}, "bad_turns", "at least one turn"),
        ("demonstrations", {"messages": []}, "empty_field", "messages is empty"),
        ("demonstrations", {"messages": "x"}, "wrong_type", "messages must be a list of messages, found text"),
        ("demonstrations", {"messages": [{"role": "user"}]}, "wrong_type", r"messages\[0\] must be an object"),
        ("demonstrations", {"messages": [USER, {"role": "assistant", "content": 3}]}, "wrong_type", r"messages\[1\]"),
        ("demonstrations", {"messages": [USER, {**REPLY, "content": ""}]}, "empty_field", "last Assistant turn"),
        ("demonstrations", {"messages": [USER, {"role": "tool", "content": "x"}, REPLY]}, "bad_turns", "role 'tool'"),
        ("demonstrations", {"messages": [USER, REPLY, WELL]}, "bad_turns", "last turn of a prompt is the user's"),
        ("comparisons", {"prompt": "a", "response": "b"}, "missing_field", "need prompt with chosen and rejected, or"),
        ("comparisons", {"prompt": "a", "chosen": "b"}, "missing_field", "the fields are prompt, chosen"),
        ("comparisons", {"prompt": "a", "chosen": "b ", "rejected": "b\n"}, "equal_answers", "are equal"),
        ("comparisons", {"chosen": HH + "a", "rejected": HH + "a\n"}, "equal_answers", "are equal"),
        (
            "comparisons",
            {"chosen": HH + "a", "rejected": HH},
            "empty_field",
            "last Assistant turn of rejected is empty",
        ),
        ("comparisons", {"chosen": HH + "a", "rejected": "\n\nHuman: x\n\nAssistant: b"}, DIFFER, "differ before"),
        ("comparisons", {"prompt": "a", "responses": "b"}, "wrong_type", "responses must be a list"),
        ("comparisons", {"prompt": "a", "responses": RANKED[:1]}, "missing_field", "at least 2 entries, found 1"),
        ("comparisons", {"prompt": "a", "responses": ["b", "c"]}, "wrong_type", r"responses\[0\] must be an object"),
        (
            "comparisons",
            {"prompt": "a", "responses": [*RANKED, {"text": "c", "rank": 0}]},
            "wrong_type",
            r"responses\[2\]\.rank must be a whole number from 1 \(best\), found 0",
        ),
        (
            "comparisons",
            {"prompt": "a", "responses": [*RANKED, {"text": "c", "rank": True}]},
            "wrong_type",
            r"responses\[2\]\.rank",
        ),
        (
            "comparisons",
            {"prompt": "a", "responses": [*RANKED, {"text": "b", "rank": 3}]},
            "equal_answers",
            r"responses\[0\] and \[2\] are equal but ranked differently",
        ),
        ("prompts", {"text": "a"}, "missing_field", "prompts need prompt, or messages; the fields are text"),
        ("documents", {"prompt": "a"}, "missing_field", "documents need text"),
    ],
)
def test_bad_values_say_what_is_wrong(kind: Any, value: Any, reason: str, message: str) -> None:
    with pytest.raises(BadRecord, match=message) as caught:
        parse(value, kind)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("format", "fits", "other"),
    [
        ("jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"}, {"chosen": [USER, REPLY], "rejected": [USER, BAD]}),
        ("hh", {"chosen": HH + "a", "rejected": HH + "b"}, {"chosen": "a", "rejected": "b"}),
        ("messages", {"chosen": [USER, REPLY], "rejected": [USER, BAD]}, {"chosen": HH + "a", "rejected": HH + "b"}),
    ],
)
def test_a_named_format_refuses_the_others(format: Any, fits: dict[str, Any], other: dict[str, Any]) -> None:
    assert isinstance(parse(fits, "comparisons", format), Comparison)
    with pytest.raises(BadRecord, match=f"not in data.format={format}; the fields are chosen, rejected"):
        parse(other, "comparisons", format)


def test_the_text_format() -> None:
    assert parse({"text": "a"}, "documents", "text") == Document("a")
    with pytest.raises(BadRecord, match=r"data\.format=text"):
        parse({"prompt": "a", "response": "b"}, "documents", "text")


def test_a_record_keeps_what_it_says_of_itself() -> None:
    """Categories are reported by; other fields, and values that are no text, are not kept."""
    fields = {"prompt": "Why?", "category": "maths", "subset": "hep-go", "source": 3, "model": "m"}
    tags = (("category", "maths"), ("subset", "hep-go"))
    assert parse({**fields, "chosen": "a", "rejected": "b"}, "comparisons").tags == tags  # type: ignore[union-attr]
    ranked = [{"text": "a", "rank": 1}, {"text": "b", "rank": 2}]
    assert parse({**fields, "responses": ranked}, "comparisons").tags == tags  # type: ignore[union-attr]
