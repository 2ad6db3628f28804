"""One raw value becomes one record, whatever of the known formats it is written in.

The guide's fields (`prompt` with `response`, `chosen` and `rejected`, or `responses`), HH-RLHF transcripts (Bai et al.
2022), conversations as TRL takes them (`messages`, or lists under the same names), and plain `text`. Exports of Label
Studio come in the guide's fields, see `label_studio.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from rlhf.data.files import BadRecord
from rlhf.data.records import (
    TAGS,
    Comparison,
    Demonstration,
    Document,
    Kind,
    Prompt,
    Ranking,
    Record,
    Tags,
    as_demonstration,
)

Format = Literal["auto", "jsonl", "hh", "messages", "text"]
FORMATS: tuple[str, ...] = ("auto", "jsonl", "hh", "messages", "text")

NEEDED = {
    "documents": "text, or a prompt with an answer",
    "demonstrations": "prompt with response (or completion), messages that end with the assistant, or comparisons",
    "comparisons": "prompt with chosen and rejected, or prompt with responses (a list of text and rank)",
    "prompts": "prompt, or messages",
}

# Not an error of the file but of how it was collected: dropped and counted, never a reason to stop.
DROPPED = "differ_before_last_turn"

Turns = tuple[tuple[str, str], ...]

_MARKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}


def parse(value: Any, kind: Kind, format: Format = "auto") -> Record:
    """The record of `kind` in a raw value.

    Raises:
        BadRecord: something is missing, empty, of the wrong type or contradictory; or the value is not in `format`.
    """
    if isinstance(value, str):
        value = {"prompts": {"prompt": value}, "documents": {"text": value}}.get(kind, value)
    if not isinstance(value, dict):
        raise BadRecord("wrong_type", f"expected an object with {NEEDED[kind]}, found {_type(value)}")
    # Columns of parquet files and of hub data sets exist for every row; where they say nothing they are null.
    fields = {str(name): content for name, content in value.items() if content is not None}
    _check_format(fields, format)
    return _PARSERS[kind](fields)


def _prompt(fields: dict[str, Any]) -> Prompt:
    if "messages" in fields:
        turns = _messages(fields["messages"], "messages")
        return _make_prompt(turns[:-1] if turns[-1][0] == "assistant" else turns)
    if "prompt" in fields and not _complete(fields.get("chosen")):
        return _make_prompt(_prompt_turns(fields))
    if "chosen" in fields:
        return _make_prompt(_conversation(fields, "chosen", answered=False)[:-1])
    raise _missing(fields, "prompts")


def _demonstration(fields: dict[str, Any]) -> Demonstration:
    for name in ("messages", "response", "completion"):
        if name in fields:
            turns = _conversation(fields, name)
            return Demonstration(_make_prompt(turns[:-1]), turns[-1][1])
    if "chosen" in fields:
        turns = _conversation(fields, "chosen")
        return Demonstration(_make_prompt(turns[:-1]), turns[-1][1])
    if "responses" in fields:
        return as_demonstration(_ranking(fields))
    raise _missing(fields, "demonstrations")


def _comparison(fields: dict[str, Any]) -> Comparison | Ranking:
    if "responses" in fields and "chosen" not in fields:
        return _ranking(fields)
    if not {"chosen", "rejected"} <= fields.keys():
        raise _missing(fields, "comparisons")
    chosen, rejected = _conversation(fields, "chosen"), _conversation(fields, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise BadRecord(DROPPED, "chosen and rejected differ before the last Assistant turn")
    if chosen[-1] == rejected[-1]:
        raise BadRecord("equal_answers", "chosen and rejected are equal")
    return Comparison(_make_prompt(chosen[:-1]), chosen[-1][1], rejected[-1][1], _tags(fields))


def _document(fields: dict[str, Any]) -> Record:
    if "text" in fields:
        return Document(_text(fields, "text"))
    if fields.keys().isdisjoint(("messages", "response", "completion", "chosen", "responses")):
        raise _missing(fields, "documents")
    return _demonstration(fields)


_PARSERS: dict[str, Callable[[dict[str, Any]], Record]] = {
    "documents": _document,
    "demonstrations": _demonstration,
    "comparisons": _comparison,
    "prompts": _prompt,
}


def _ranking(fields: dict[str, Any]) -> Ranking:
    responses = fields["responses"]
    if not isinstance(responses, list):
        raise BadRecord("wrong_type", f"responses must be a list, found {_type(responses)}")
    if len(responses) < 2:
        raise BadRecord("missing_field", f"responses needs at least 2 entries, found {len(responses)}")
    ranks: dict[int, int] = {}
    texts = []
    for number, entry in enumerate(responses):
        if not isinstance(entry, dict) or not {"text", "rank"} <= entry.keys():
            raise BadRecord("wrong_type", f"responses[{number}] must be an object with text and rank")
        rank = entry["rank"]
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise BadRecord(
                "wrong_type", f"responses[{number}].rank must be a whole number from 1 (best), found {rank!r}"
            )
        texts.append(_text(entry, "text", f"responses[{number}].text"))
        ranks[number] = rank
        twin = texts.index(texts[-1])
        if ranks[twin] != rank:
            raise BadRecord("equal_answers", f"responses[{twin}] and [{number}] are equal but ranked differently")
    return Ranking(_make_prompt(_prompt_turns(fields)), tuple(texts), tuple(ranks.values()), _tags(fields))


def _tags(fields: dict[str, Any]) -> Tags:
    """What the record says of itself; what is no text says nothing."""
    return tuple((name, fields[name]) for name in TAGS if isinstance(fields.get(name), str) and fields[name])


def _conversation(fields: dict[str, Any], name: str, answered: bool = True) -> Turns:
    """All turns up to the answer under `name`, which is the last: a text, a transcript or a list of messages.

    The answer may be empty only where nobody asks for it (`answered` is false).
    """
    value = fields[name]
    if name == "messages":
        turns = _messages(value, name)
    elif isinstance(value, list):
        turns = _messages(value, name)
        if turns[0][0] == "assistant":  # only the answer: the prompt stands in its own field
            turns = (*_prompt_turns(fields), *turns)
    elif _complete(value):
        turns = _transcript(value, name)
    else:
        turns = (*_prompt_turns(fields), ("assistant", _text(fields, name)))
    if turns[-1][0] != "assistant":
        raise BadRecord("bad_turns", f"{name} must end with the assistant's turn, found the {turns[-1][0]}'s")
    if answered and not turns[-1][1]:
        raise BadRecord("empty_field", f"the last Assistant turn of {name} is empty")
    return turns


def _complete(value: Any) -> bool:
    """Whether an answer brings its prompt along: an HH transcript, or messages that don't start with the answer."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and value[0].get("role") != "assistant"
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def _prompt_turns(fields: dict[str, Any]) -> Turns:
    if isinstance(fields.get("prompt"), list):
        return _messages(fields["prompt"], "prompt")
    text = _text(fields, "prompt")
    if text.startswith("Human:") and text.endswith("\n\nAssistant:"):  # HH's prompts wait behind the next header
        return _transcript(text.removesuffix("\n\nAssistant:"), "prompt")
    return (("user", text),)


def _messages(value: Any, name: str) -> Turns:
    if not isinstance(value, list):
        raise BadRecord("wrong_type", f"{name} must be a list of messages, found {_type(value)}")
    if not value:
        raise BadRecord("empty_field", f"{name} is empty")
    turns = []
    for number, message in enumerate(value):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise BadRecord("wrong_type", f"{name}[{number}] must be an object with role and content")
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            raise BadRecord("wrong_type", f"{name}[{number}]: role and content must be text")
        turns.append((message["role"], _clean(message["content"], f"{name}[{number}].content")))
    return tuple(turns)


def _transcript(text: str, name: str) -> Turns:
    parts = _MARKER.split(text.strip())
    if parts[0].strip():
        raise BadRecord("bad_turns", f"{name} must start with Human: or Assistant:")
    turns = [(_ROLE[role], _clean(said, name)) for role, said in zip(parts[1::2], parts[2::2], strict=True)]
    return tuple(turns)


def _make_prompt(turns: Turns) -> Prompt:
    try:
        return Prompt(turns)
    except ValueError as error:
        raise BadRecord("bad_turns", str(error)) from error


def _text(fields: dict[str, Any], name: str, shown: str | None = None) -> str:
    shown = shown or name
    if name not in fields:
        raise BadRecord("missing_field", f"{shown} is missing; the fields are {', '.join(fields) or 'none'}")
    if not isinstance(fields[name], str):
        raise BadRecord("wrong_type", f"{shown} must be text, found {_type(fields[name])}")
    text = _clean(fields[name], shown)
    if not text:
        raise BadRecord("empty_field", f"{shown} is empty")
    return text


def _clean(text: str, shown: str) -> str:
    """Without surrounding white space."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRecord("not_utf8", f"{shown} holds half a character (a lone surrogate)") from error
    return text.strip()


def _missing(fields: dict[str, Any], kind: Kind) -> BadRecord:
    found = ", ".join(fields) or "none"
    return BadRecord("missing_field", f"{kind} need {NEEDED[kind]}; the fields are {found}")


def _check_format(fields: dict[str, Any], format: Format) -> None:
    if format == "auto":
        return
    answers = [fields[name] for name in ("chosen", "rejected", "response", "completion") if name in fields]
    lists = "messages" in fields or isinstance(fields.get("prompt"), list) or any(isinstance(a, list) for a in answers)
    fits = {
        "text": "text" in fields,
        "messages": lists,
        "hh": any(_complete(answer) for answer in answers) or "prompt" in fields,
        "jsonl": not lists,
    }[format]
    if not fits:
        raise BadRecord("wrong_format", f"not in data.format={format}; the fields are {', '.join(fields) or 'none'}")


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
