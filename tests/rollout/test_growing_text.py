"""Texts that end a response, wherever they fall among its tokens."""

from __future__ import annotations

import random

import pytest

from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.rollout.growing_text import GrowingText, first_stop, overlap


@pytest.fixture(scope="module")
def template() -> Template:
    return template_for(load_tokenizer("tiny"))


def pieces(template: Template, ids: list[int], stops: tuple[str, ...]) -> tuple[list[str], bool]:
    text = GrowingText(template, stops)
    return [*map(text.push, ids), text.end()], text.stopped


@pytest.mark.parametrize(
    ("stops", "said", "stopped"),
    [
        ((), "one two three. four", False),
        (("never",), "one two three. four", False),
        ((". ",), "one two three", True),
        (("two three",), "one ", True),
        (("zzz", "o"), "", True),
        (("four",), "one two three. ", True),
        (("four!",), "one two three. four", False),
    ],
)
def test_the_text_ends_in_front_of_a_stop(template: Template, stops: tuple[str, ...], said: str, stopped: bool) -> None:
    letters = [token for letter in " one two three. four" for token in encode(template, letter)]
    for tokens in (template.response("one two three. four"), letters):
        found, ended = pieces(template, tokens, stops)
        assert ("".join(found), ended) == (said, stopped)


def encode(template: Template, text: str) -> list[int]:
    return template.tokenizer.encode(text)


def test_nothing_of_a_stop_is_ever_shown(template: Template) -> None:
    draw = random.Random(3)
    for _ in range(300):
        text = "".join(draw.choices("ab\n", k=12))
        stop = "".join(draw.choices("ab\n", k=draw.randint(1, 3)))
        # One letter a token, so that the stop that is complete first is also the first one.
        ids = [*encode(template, " "), *(i for c in text for i in encode(template, c))]
        found, stopped = pieces(template, ids, (stop,))
        assert "".join(found) == text.split(stop)[0] and stopped == (stop in text)


def test_where_stops_begin_and_what_may_become_one() -> None:
    assert first_stop("a.b", ()) == ("a.b", None)
    assert first_stop("xaby", ("b", "ab", "a")) == ("x", "ab"), "the longest of those that begin first"
    assert [overlap(text, "abc") for text in ("", "xa", "xab", "abc", "abcd", "ba")] == [0, 1, 2, 3, 0, 1]
