"""What a chat-completions request asks for, as far as this server can do it; whatever else it says is refused by name.

Fields and their meaning: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf.config.sources import SamplingConfig
from rlhf.data.records import Prompt
from rlhf.errors import nearest
from rlhf.storage.shapes import fits

USED = (
    "messages",
    "model",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "seed",
    "stop",
    "stream",
    "stream_options",
)
IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
)
"""Fields that say nothing of the answer."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "best_of": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "stop_token_ids": ([],),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
}
"""Fields that are taken at the values that change nothing."""

COLDEST, HOTTEST = 1e-4, 10.0
"""Temperatures beside 0: divided by less than that, logits would be infinite."""
MOST_SAMPLES, MOST_STOPS = 128, 4
"""As OpenAI's."""


class Wrong(Exception):
    """A request that can't be answered. The message starts with the field.

    Attributes:
        param: the field, as OpenAI's clients read it.
        status, code: of the response.
    """

    def __init__(self, param: str, message: str, status: int = 400, code: str | None = None) -> None:
        super().__init__(f"{param}: {message}")
        self.param, self.status, self.code = param, status, code


@dataclass(frozen=True)
class ChatRequest:
    """Attributes:
    max_tokens: as asked; `None`: as long as the server says.
    seed: that makes the answer repeatable, whatever else is asked beside it.
    stops: texts that end an answer, and are no part of it.
    usage: whether a stream ends with the counts of tokens.
    """

    prompt: Prompt
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int | None = None
    n: int = 1
    seed: int | None = None
    stops: tuple[str, ...] = ()
    stream: bool = False
    usage: bool = False


def read_request(body: Any, model: str, usual: SamplingConfig) -> ChatRequest:
    """What a request's JSON asks for.

    Args:
        model: the only one that is served here.
        usual: for what is left out.

    Raises:
        Wrong: the first thing that is impossible, or that this server can't do.
    """
    if not isinstance(body, dict):
        raise Wrong("messages", "missing; a request is an object with messages")
    # null means the same as nothing.
    fields = {name: value for name, value in body.items() if value is not None}
    for name, value in fields.items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise Wrong(name, f"{_shown(value)} is not supported here; leave it out")
        if name not in (*USED, *IGNORED, *NEUTRAL):
            raise Wrong(_shown(name), f"not a field of this server{nearest(name, USED)}")
    if fields.get("model", model) != model:
        raise Wrong("model", f"{_shown(fields['model'])} is not served here, {model} is", 404, "model_not_found")
    temperature = _number(fields, "temperature", usual.temperature, 0, HOTTEST)
    if 0 < temperature < COLDEST:
        raise Wrong("temperature", f"{temperature:g} is too small; 0 takes the likeliest token")
    top_p = _number(fields, "top_p", usual.top_p, 0, 1)
    if top_p == 0:
        raise Wrong("top_p", "0 keeps no token; it is above 0")
    stream = _flag(fields, "stream")
    return ChatRequest(
        prompt=_prompt(fields.get("messages")),
        temperature=temperature,
        top_p=top_p,
        # -1 is another way to say all, as vLLM has it.
        top_k=max(0, _whole(fields, "top_k", -1, 2**31) or 0) if "top_k" in fields else usual.top_k,
        max_tokens=_longest(fields),
        n=_whole(fields, "n", 1, MOST_SAMPLES) or 1,
        seed=_whole(fields, "seed", -(2**63), 2**63),
        stops=_stops(fields.get("stop", [])),
        stream=stream,
        usage=_usage(fields.get("stream_options", {}), stream),
    )


def _prompt(messages: Any) -> Prompt:
    if not isinstance(messages, list) or not messages:
        raise Wrong("messages", "must be a list with at least one message")
    turns = [_turn(f"messages[{place}]", message) for place, message in enumerate(messages)]
    try:
        return Prompt(tuple(turns))
    except ValueError as error:
        raise Wrong("messages", str(error)) from None


def _turn(where: str, message: Any) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise Wrong(where, "must be an object with role and content")
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant"):
        raise Wrong(f"{where}.role", f"{_shown(role)} is not supported; system, user or assistant")
    for name, value in message.items():
        if name not in ("role", "content") and value not in (None, [], ""):
            raise Wrong(f"{where}.{_shown(name)}", "not supported")
    content = message.get("content")
    if isinstance(content, list):
        if not all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in content):
            raise Wrong(f"{where}.content", "has a part that is no text; only texts can be read")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Wrong(f"{where}.content", "must be a text")
    return role, content


def _longest(fields: Mapping[str, Any]) -> int | None:
    """By either name; the older one is what most clients send."""
    given = [_whole(fields, name, 1, 2**31) for name in ("max_tokens", "max_completion_tokens") if name in fields]
    if len(set(given)) > 1:
        raise Wrong("max_tokens", f"{given[0]} stands beside max_completion_tokens {given[1]}; leave one of them out")
    return given[0] if given else None


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not fits(stops, list[str]) or not all(stops) or len(stops) > MOST_STOPS:
        raise Wrong("stop", f"must be a text or a list of at most {MOST_STOPS} texts, none of them empty")
    return tuple(stops)


def _usage(options: Any, stream: bool) -> bool:
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise Wrong("stream_options", "must be an object, in which only include_usage is supported")
    if options and not stream:
        raise Wrong("stream_options", "needs stream: true")
    return _flag(options, "include_usage")


def _number(fields: Mapping[str, Any], name: str, usual: float, low: float, high: float) -> float:
    value = fields.get(name, usual)
    if not fits(value, float) or not low <= value <= high:
        raise Wrong(name, f"{_shown(value)} must be a number from {low:g} to {high:g}")
    return float(value)


def _whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not fits(value, int) or not low <= value <= high:
        raise Wrong(name, f"{_shown(value)} must be a whole number" + (f", at least {low}" if low > -2 else ""))
    return int(value)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise Wrong(name, f"{_shown(value)} must be true or false")
    return value


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
