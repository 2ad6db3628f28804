"""The lab's own fields: `prompt` or `messages` with the answers to it, each a text, a transcript or messages.

Importers of other formats give their fields these names and pass them on, so that every format has the same checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.conversations import (
    Turn,
    Turns,
    in_context,
    is_messages,
    make_demonstration,
    make_prompt,
    messages_of,
    prompt_in,
    tools_of,
)
from rlhf.data.formats.fields import Fields, clean, listed, number_of, tags_of, text_of, type_name
from rlhf.data.formats.meaning import DIFFER
from rlhf.data.records import Comparison, Demonstration, Kind, Prompt, Ranking, Record, as_demonstration

NEEDED: dict[Kind, str] = {
    "documents": "text, or a prompt with an answer",
    "demonstrations": "prompt with response (or completion), messages that end with the assistant, or comparisons",
    "comparisons": "prompt with chosen and rejected, or prompt with responses (a list of text and rank)",
    "prompts": "prompt, or messages",
    "labels": "prompt with completion and label (true or false), or comparisons",
    "steps": "prompt with completions (a list of steps) and as many labels (true or false)",
}
"""What a record of each kind needs, for messages; other formats' names for it are not listed."""

ANSWERS = ("messages", "response", "completion", "chosen", "responses")
"""Fields that hold an answer to imitate, the first that is there."""

# Files that passed through Windows end their lines in \r\n. The space after a marker is the layout's.
_MARKER = re.compile(r"(?:^|\r?\n\r?\n)(Human|Assistant):[ ]?")
_ANSWERED = re.compile(r"\s*Human:.*\n\r?\nAssistant:", re.DOTALL)
_WAITING = re.compile(r"(\s*Human:.*?)\r?\n\r?\nAssistant:\s*", re.DOTALL)
_ROLE = {"Human": "user", "Assistant": "assistant"}


def standard_records(fields: Fields, kind: Kind) -> Iterator[Record]:
    """The one record of `kind`, or of a richer kind, that stands in the lab's own fields.

    Raises:
        BadRecord: something is missing, empty, of the wrong type or contradictory.
    """
    if kind == "prompts":
        yield _prompt(fields)
    elif kind == "demonstrations":
        yield _demonstration(fields)
    elif (kind == "documents" and not fields.keys() & {*ANSWERS}) or kind == "steps":
        raise missing(fields, kind)
    else:
        yield _demonstration(fields) if kind == "documents" else _comparison(fields, kind)


def _prompt(fields: Fields) -> Prompt:
    if "messages" in fields:
        return prompt_in(in_context(fields, messages_of(fields["messages"], "messages")), tools_of(fields))
    if "prompt" in fields and not is_complete(fields.get("chosen")):
        return make_prompt(_question(fields), tools_of(fields))
    if "chosen" in fields:
        # Nobody asks for the answer, so an empty one does no harm.
        return make_prompt(_conversation(fields, "chosen", answered=False)[:-1], tools_of(fields))
    raise missing(fields, "prompts")


def _demonstration(fields: Fields) -> Demonstration:
    for name in ANSWERS[:-1]:
        if name in fields:
            turns = _conversation(fields, name)
            if name == "chosen":  # what is in front of the last answer was not compared
                return as_demonstration(_compared(fields, turns, turns))
            return make_demonstration(turns, tools_of(fields))
    if "responses" in fields:
        return as_demonstration(_ranking(fields))
    raise missing(fields, "demonstrations")


def _comparison(fields: Fields, kind: Kind) -> Comparison | Ranking:
    if "responses" in fields and "chosen" not in fields:
        return _ranking(fields)
    if not {"chosen", "rejected"} <= fields.keys():
        raise missing(fields, kind)
    chosen, rejected = _conversation(fields, "chosen"), _conversation(fields, "rejected")
    if _said(chosen[:-1]) != _said(rejected[:-1]):
        raise BadRecord(DIFFER, "chosen and rejected differ before the last Assistant turn")
    if _said(chosen[-1:]) == _said(rejected[-1:]):  # but for white space at their ends
        raise BadRecord("equal_answers", "chosen and rejected are equal")
    return _compared(fields, chosen, rejected)


def _compared(fields: Fields, chosen: Turns, rejected: Turns) -> Comparison:
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].extras:
            raise BadRecord("bad_tool_call", f"{name} calls a tool, and only texts are compared")
    prompt = make_prompt(chosen[:-1], tools_of(fields))
    return Comparison(prompt, chosen[-1].text, rejected[-1].text, tags_of(fields), _margin(fields))


def _margin(fields: Fields) -> float | None:
    """By how much the chosen answer is better, where the record says it."""
    if "margin" not in fields:
        return None
    margin = number_of(fields["margin"])
    if margin is None or margin < 0:
        raise BadRecord("wrong_type", f"margin must be a number ≥ 0, found {fields['margin']!r}"[:200])
    return margin


def _said(turns: Turns) -> list[tuple[str, str, str]]:
    return [(turn.role, turn.text.rstrip(), turn.extras) for turn in turns]


def _ranking(fields: Fields) -> Ranking:
    responses = fields["responses"]
    if not isinstance(responses, list):
        raise BadRecord("wrong_type", f"responses must be a list, found {type_name(responses)}")
    if len(responses) < 2:
        raise BadRecord("missing_field", f"responses needs at least 2 entries, found {len(responses)}")
    ranks: dict[int, int] = {}
    texts = []
    scores = [number_of(entry.get("score")) if isinstance(entry, dict) else None for entry in responses]
    for number, entry in enumerate(responses):
        if not isinstance(entry, dict) or not {"text", "rank"} <= entry.keys():
            raise BadRecord("wrong_type", f"responses[{number}] must be an object with text and rank")
        rank = entry["rank"]
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise BadRecord(
                "wrong_type", f"responses[{number}].rank must be a whole number from 1 (best), found {rank!r}"[:200]
            )
        texts.append(text_of(entry, "text", f"responses[{number}].text"))
        ranks[number] = rank
        twin = texts.index(texts[-1])
        if ranks[twin] != rank:
            raise BadRecord("equal_answers", f"responses[{twin}] and [{number}] are equal but ranked differently")
    prompt = make_prompt(_question(fields), tools_of(fields))
    known = [score for score in scores if score is not None]
    ordered = len(known) == len(texts) and all(
        known[i] >= known[j] for i in range(len(texts)) for j in range(len(texts)) if ranks[i] < ranks[j]
    )
    # Scores that contradict the ranks, or that some answers lack, are no distances between them.
    return Ranking(prompt, tuple(texts), tuple(ranks.values()), tags_of(fields), tuple(known) if ordered else ())


def _conversation(fields: Fields, name: str, answered: bool = True) -> Turns:
    """All turns up to the answer under `name`, which is the last: a text, a transcript or a list of messages.

    The answer may be empty only if it is not needed (`answered` is false).
    """
    value = fields[name]
    if name == "messages" or isinstance(value, list):
        turns = messages_of(value, name)
        if name != "messages" and turns[0].role == "assistant":  # only the answer: the prompt stands in its own field
            turns = (*_question(fields), *turns)
        else:
            turns = in_context(fields, turns)
    elif is_complete(value):
        turns = in_context(fields, _transcript(value, name))
    elif isinstance(value, dict) and {"role", "from"} & value.keys():  # one message, the answer
        turns = (*_question(fields), *messages_of([value], name))
    else:
        text = text_of(fields, name)
        if isinstance(fields.get("prompt"), str) and _WAITING.fullmatch(fields["prompt"]) is not None:
            text = text.removeprefix(" ")  # the transcript's space after its last marker
        turns = (*_question(fields), Turn("assistant", text))
    if turns[-1].role != "assistant":
        raise BadRecord("bad_turns", f"{name} must end with the assistant's turn, found the {turns[-1].role}'s")
    if answered and not turns[-1].text.strip() and not turns[-1].extras:
        raise BadRecord("empty_field", f"the last Assistant turn of {name} is empty")
    return turns


def is_complete(value: Any) -> bool:
    """Whether an answer brings its prompt along: an HH transcript, or messages that don't start with the answer."""
    if isinstance(value, list):
        return is_messages(value) and messages_of(value[:1], "chosen")[0].role != "assistant"
    return isinstance(value, str) and _ANSWERED.match(value) is not None


def _question(fields: Fields) -> Turns:
    """The turns of `prompt` in the context that stands beside it."""
    value = fields.get("prompt")
    if isinstance(value, list):
        return in_context(fields, messages_of(value, "prompt"))
    text = text_of(fields, "prompt")
    if (waiting := _WAITING.fullmatch(text)) is not None:  # HH's prompts wait behind the next header
        return in_context(fields, _transcript(waiting[1], "prompt"))
    return in_context(fields, (Turn("user", text),))


def _transcript(text: str, name: str) -> Turns:
    parts = _MARKER.split(text.lstrip())
    if parts[0]:
        raise BadRecord("bad_turns", f"{name} must start with Human: or Assistant:")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return tuple(Turn(_ROLE[role], clean(said, name)) for role, said in pairs)


class Missing(BadRecord):
    """The fields hold less than a kind of records needs."""


def missing(fields: Fields, kind: Kind) -> Missing:
    """That fields hold less than `kind` needs."""
    return Missing("missing_field", f"{kind} need {NEEDED[kind]}; {listed(fields)}")
