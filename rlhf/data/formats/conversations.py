"""Conversations as files write them, lists of messages and what stands around them, become prompts and answers.

A message is `{"role": …, "content": …}` or `{"from": …, "value": …}`. Its content is text, or a list of parts that are
all text. The assistant may call tools (`tool_calls`, or a message of the role `function_call`), and a tool's result is
a message of the role `tool`; both are kept, for the chat template to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.fields import Fields, canonical, clean, decoded, text_of, type_name
from rlhf.data.formats.meaning import NOTHING_LEARNT, check_understood
from rlhf.data.records import Demonstration, Prompt

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
}
"""Names of roles in the formats that are known, in lower case."""

SYSTEM = ("system", "system_prompt", "system_message")
CONTEXT = {
    **dict.fromkeys(SYSTEM, "what the system turn says"),
    "history": "what was said before: a list of [question, answer], or messages",
    "tools": "the tools that the assistant may call, a list or the JSON text of one",
}
"""Fields that may stand beside a prompt in any format, and are part of it."""

MESSAGE = {
    **dict.fromkeys(("role", "from"), "who speaks"),
    **dict.fromkeys(("content", "value"), "what is said"),
    **dict.fromkeys(("weight", "loss", "train"), "0 or false: an answer that is not learnt"),
    **dict.fromkeys(("tool_calls", "function_call"), "tools that the assistant calls"),
    **dict.fromkeys(("tool_call_id", "name"), "of a tool's result: which call it answers, and the tool's name"),
}


@dataclass(frozen=True)
class Turn:
    """What one side said; `extras` is JSON of its calls, and `weight` 0 where the answer is not to be learnt."""

    role: str
    text: str
    extras: str = ""
    weight: int = 1


Turns = tuple[Turn, ...]


def messages_of(value: Any, name: str) -> Turns:
    """The turns of a list of messages, also where it stands as JSON text.

    Raises:
        BadRecord: no such list, an unknown role, content that is not text, or an image.
    """
    value = decoded(value)
    if not isinstance(value, list):
        raise BadRecord("wrong_type", f"{name} must be a list of messages, found {type_name(value)}")
    if not value:
        raise BadRecord("empty_field", f"{name} is empty")
    turns: list[Turn] = []
    for number, message in enumerate(value):
        turn, call = _message(message, f"{name}[{number}]")
        if call and turns and turns[-1].role == "assistant":  # what is said and what is called are one turn
            turns[-1] = _joined(turns[-1], turn)
        else:
            turns.append(turn)
    return tuple(turns)


def is_messages(value: Any) -> bool:
    """Whether a value is a list of messages; text never is, whatever it looks like."""
    return (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict) and bool({"role", "from"} & {*value[0]})
    )


def _message(message: Any, shown: str) -> tuple[Turn, bool]:
    """A turn, and whether the message is a call that belongs to the answer in front of it."""
    if not isinstance(message, dict):
        raise BadRecord("wrong_type", f"{shown} must be an object with role and content, found {type_name(message)}")
    message = {str(name): value for name, value in message.items() if value is not None}
    said = message.get("role", message.get("from"))
    calls = "tool_calls" in message or "function_call" in message
    if said is None or not ({"content", "value"} & message.keys() or calls):
        raise BadRecord("wrong_type", f"{shown} must be an object with role and content")
    if not isinstance(said, str):
        raise BadRecord("wrong_type", f"{shown}: role must be text, found {type_name(said)}")
    role = ROLES.get(said.strip().lower())
    if role is None:
        known = "system, user, assistant, tool (or human, gpt, function_call, observation)"
        raise BadRecord("bad_turns", f"{shown}: role {said!r} is not one of {known}"[:300])
    check_understood(message, MESSAGE, shown)
    text = content_of(message.get("content", message.get("value", "")), f"{shown}.content")
    if role == "call":
        return Turn("assistant", "", canonical({"tool_calls": _calls(text, shown)}), _weight(message, shown)), True
    extras: dict[str, Any] = {}
    if role == "assistant" and calls:
        found = message["tool_calls"] if message.get("tool_calls") else message.get("function_call")
        extras = {"tool_calls": _calls(found, shown)} if found else {}
    elif role == "tool":
        extras = {key: str(message[key]) for key in ("tool_call_id", "name") if key in message}
    elif calls:
        raise BadRecord("bad_turns", f"{shown}: only the assistant calls tools, found the role {said!r}")
    return Turn(role, text, canonical(extras) if extras else "", _weight(message, shown)), False


def content_of(value: Any, shown: str) -> str:
    """Text, or the texts of parts in one.

    Raises:
        BadRecord: a part is something else than text, such as an image, or nothing of the two.
    """
    if not isinstance(value, list):
        return clean(value, shown)
    texts = []
    for number, part in enumerate(value):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else type_name(part)
        if not isinstance(part, dict) or kind not in ("text", "input_text", "output_text") or "text" not in part:
            raise BadRecord("not_text", f"{shown}[{number}] is not text but {kind!r}; only text is trained on"[:300])
        if not isinstance(part["text"], str):
            raise BadRecord("wrong_type", f"{shown}[{number}].text must be text, found {type_name(part['text'])}")
        texts.append(part["text"])
    return clean("".join(texts), shown)


def _calls(value: Any, shown: str) -> list[dict[str, Any]]:
    """Calls as chat templates take them: arguments as an object, not as its JSON text."""
    value = decoded(value)
    found = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRecord("bad_tool_call", f"{shown}: a call must be an object with name and arguments")
        content = {"name": function["name"], "arguments": decoded(function.get("arguments", {}))}
        identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        found.append({**identity, "type": "function", "function": content})
    return found


def _joined(answer: Turn, call: Turn) -> Turn:
    calls = [*json.loads(answer.extras or "{}").get("tool_calls", []), *json.loads(call.extras)["tool_calls"]]
    return replace(answer, extras=canonical({"tool_calls": calls}), weight=min(answer.weight, call.weight))


def _weight(message: Fields, shown: str) -> int:
    for name in ("weight", "loss", "train"):
        if name in message:
            if message[name] not in (0, 1):
                raise BadRecord("wrong_type", f"{shown}.{name} must be 0 or 1, found {message[name]!r}"[:200])
            return int(message[name])
    return 1


def in_context(fields: Fields, turns: Turns) -> Turns:
    """The turns after the system turn and the history that stand in fields of their own.

    Raises:
        BadRecord: they are of the wrong type, or there are two different system turns.
    """
    said: dict[str, None] = {}
    for name in SYSTEM:
        if name in fields and (text := content_of(fields[name], name)).strip():
            said[text] = None
    opening = turns[:1] if turns and turns[0].role == "system" else ()
    before = _history(fields.get("history")) if fields.get("history") else ()
    if before and before[0].role == "system":
        said[before[0].text], before = None, before[1:]
    if len({*said, *(turn.text for turn in opening)}) > 1:
        raise BadRecord("bad_turns", "two different system turns: one in a field of its own, another one elsewhere")
    system = opening or tuple(Turn("system", text) for text in said)
    return (*system, *before, *turns[len(opening) :])


def _history(value: Any) -> Turns:
    value = decoded(value)
    if is_messages(value):
        return messages_of(value, "history")
    if not isinstance(value, list):
        raise BadRecord("wrong_type", f"history must be a list of [question, answer], found {type_name(value)}")
    turns: list[Turn] = []
    for number, pair in enumerate(value):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadRecord("wrong_type", f"history[{number}] must be [question, answer]")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            turns.append(Turn(role, clean(text, f"history[{number}]")))
    return tuple(turns)


def tools_of(fields: Fields) -> str:
    """`tools` as chat templates take it, canonical JSON; empty where there are none.

    Raises:
        BadRecord: it is no list of objects with a name, nor the JSON text of one.
    """
    value = decoded(fields.get("tools"))
    if not value:
        return ""
    found = []
    for number, tool in enumerate(value if isinstance(value, list) else [value]):
        tool = decoded(tool)
        if not isinstance(tool, dict) or not ("function" in tool or "name" in tool):
            raise BadRecord("wrong_type", f"tools[{number}] must be an object with a name, found {type_name(tool)}")
        found.append(tool if "function" in tool else {"type": "function", "function": tool})
    return canonical(found)


def make_prompt(turns: Iterable[Turn], tools: str = "") -> Prompt:
    """A prompt of turns.

    Raises:
        BadRecord: they make none, see `Prompt`.
    """
    turns = tuple(turns)
    extras = tuple((index, turn.extras) for index, turn in enumerate(turns) if turn.extras)
    try:
        return Prompt(tuple((turn.role, turn.text) for turn in turns), tools, extras)
    except ValueError as error:
        raise BadRecord("bad_turns", str(error)) from error


def prompt_in(turns: Turns, tools: str = "") -> Prompt:
    """The prompt of a whole conversation: up to its last answer, or all of it if there is none yet."""
    return make_prompt(turns[:-1] if turns[-1].role == "assistant" else turns, tools)


def make_demonstration(turns: Turns, tools: str = "") -> Demonstration:
    """A whole conversation, of which the last turn is the response.

    Raises:
        BadRecord: it makes no prompt, or no answer in it is to be learnt.
    """
    weights = tuple(turn.weight for turn in turns if turn.role == "assistant")
    if not any(weights):
        raise BadRecord(NOTHING_LEARNT, "every answer has weight 0")
    last = turns[-1]
    return Demonstration(make_prompt(turns[:-1], tools), last.text, () if all(weights) else weights, last.extras)


def question_of(fields: Fields, name: str) -> Turns:
    """The turns of a prompt under `name`, text or messages, in the context that stands beside it."""
    if is_messages(fields.get(name)) or isinstance(fields.get(name), list):
        return in_context(fields, messages_of(fields[name], name))
    return in_context(fields, (Turn("user", text_of(fields, name)),))
