"""What a server sent as a chat completion: its text, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_TOKENS = 10**9
"""More than any call can have used: such a count is none."""


@dataclass(frozen=True)
class Completion:
    """Attributes:
    text: what the model wrote; `None`: nothing that can be read.
    cut: whether the text ends where `max_tokens` ended it, and not where the model would have.
    usage: `prompt_tokens` and `completion_tokens`, as far as they are counts.
    fault: why there is no text.
    paid: whether the model was run all the same, so that asking again costs again.
    status: of an error object with a number of its own, else 200.
    """

    text: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""
    paid: bool = False
    status: int = 200
    cut: bool = False


def read_completion(body: str) -> Completion:
    """A completion, or an error in its place (https://platform.openai.com/docs/api-reference/chat/object)."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return Completion(fault="its answer is no JSON")
    if not isinstance(content, dict):
        return Completion(fault="its answer is no chat completion")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = content.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error:
        return _failed(error)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Completion(fault="its answer is no chat completion")
    text, usage = _text(message.get("content")), usage_of(content.get("usage"))
    if text:
        return Completion(text, usage, cut=choice.get("finish_reason") == "length")
    fault = "its completion holds no text"
    if refusal := _text(message.get("refusal")):
        fault = f"the model refuses: {refusal}"
    elif choice.get("finish_reason") == "length":
        fault = "the model wrote no text within the max_tokens of its endpoint; raise it"
    return Completion(None, usage, fault, paid=True)


def usage_of(usage: Any) -> dict[str, int]:
    """Counts of tokens; whatever else stands there is left out."""
    known = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens")
    return {name: n for name in names if type(n := known.get(name)) is int and 0 <= n < MOST_TOKENS}


def _failed(error: Any) -> Completion:
    said = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    number = int(code) if isinstance(code, str) and code.isdecimal() and len(code) < 4 else code
    status = number if type(number) is int and 400 <= number < 600 else 400
    return Completion(fault=said if isinstance(said, str) else "an error without a message", status=status)


def _text(content: Any) -> str | None:
    """A text, also one in parts; halves of characters, which no file can hold, become U+FFFD."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in ("text", None)]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str) or not content.strip():
        return None
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
