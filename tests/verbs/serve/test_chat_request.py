"""What a request may ask for, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.config.sources import SamplingConfig
from rlhf.data.records import Prompt
from verbs.serve.chat_request import IGNORED, NEUTRAL, ChatRequest, Wrong, read_request

MESSAGES = [{"role": "user", "content": "Hi."}]
USUAL = SamplingConfig(temperature=0.7, top_p=0.9, top_k=5)


def read(**more: Any) -> ChatRequest:
    return read_request({"messages": MESSAGES, **more}, "mine", USUAL)


def test_what_is_left_out_is_as_the_server_says() -> None:
    assert read() == ChatRequest(Prompt.of("Hi."), 0.7, 0.9, 5)
    assert read(temperature=None, seed=None, stop=None, stream=None, max_tokens=None, n=None) == read()


def test_everything_that_can_be_asked() -> None:
    asked = read(
        model="mine",
        temperature=0,
        top_p=1,
        top_k=-1,
        max_completion_tokens=7,
        n=3,
        seed=-5,
        stop="\n",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert asked == ChatRequest(Prompt.of("Hi."), 0.0, 1.0, 0, 7, 3, -5, ("\n",), True, True)


def test_conversations() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    turns = [("developer", "S"), ("user", parts), ("assistant", "c"), ("user", "d")]
    asked = read(messages=[{"role": role, "content": content} for role, content in turns])
    assert asked.prompt.turns == (("system", "S"), ("user", "ab"), ("assistant", "c"), ("user", "d"))


def test_fields_that_change_nothing() -> None:
    assert read(**dict.fromkeys(IGNORED, "x")) == read()
    assert read(**{name: values[0] for name, values in NEUTRAL.items()}) == read()
    assert read(messages=[{**MESSAGES[0], "refusal": None, "tool_calls": []}]) == read()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi."}, "messages"),
        ({"messages": ["Hi."]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages[0].role"),
        ({"messages": [*MESSAGES, {"role": "assistant", "content": "He"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{**MESSAGES[0], "name": "ada"}]}, "messages[0].name"),
        ({"model": "other"}, "model"),
        ({"model": 3}, "model"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 1e-40}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"n": 129}, "n"),
        ({"n": 0}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"other": 1}}, "stream_options"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"temprature": 1}, "temprature"),
    ],
    ids=str,
)
def test_what_would_change_the_answer_and_is_not_done_is_refused(more: dict[str, Any], param: str) -> None:
    with pytest.raises(Wrong) as wrong:
        read(**more)
    assert wrong.value.param == param and str(wrong.value).startswith(f"{param}: ")
    assert wrong.value.status == (404 if param == "model" else 400)


@pytest.mark.parametrize("body", [None, [], "x", 3, {}])
def test_what_is_no_request_at_all(body: Any) -> None:
    with pytest.raises(Wrong):
        read_request(body, "mine", USUAL)
