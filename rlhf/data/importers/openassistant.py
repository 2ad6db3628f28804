"""Message trees of OpenAssistant (Köpf et al. 2023): every thread is a conversation, ranked replies are rankings.

Left out are messages that were deleted or failed review, with what answers them, and trees that moderators stopped.

- Rankings: the ranked answers to one message, wherever there are two or more.
- Demonstrations: threads through the best answers (rank 0; unranked ones, each). Threads share their
  beginnings, so an answer that an earlier thread has taught already gets the weight 0 in the later ones.
- Prompts: what stands in front of each answer or waits for one, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.conversations import Turn, Turns, make_demonstration, make_prompt
from rlhf.data.formats.fields import Fields, text_of, type_name
from rlhf.data.formats.meaning import LEFT_OUT, WITHOUT_COMPARISON
from rlhf.data.records import Kind, Ranking, Record

ROLES = {"prompter": "user", "assistant": "assistant"}
STOPPED = ("aborted_low_grade", "halted_by_moderator")

FIELDS = {
    "prompt": "the first message, with its replies, and theirs",
    **dict.fromkeys(("message_tree_id", "origin"), "left out"),
    "tree_state": f"{' and '.join(STOPPED)}: the tree is left out",
}
FLAT = {"message_id", "text", "role"}


def matches(fields: Fields) -> bool:
    """A tree, or a single message of the flat export."""
    prompt = fields.get("prompt")
    return (isinstance(prompt, dict) and {"text", "role"} <= prompt.keys()) or fields.keys() >= FLAT


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    if "prompt" not in fields:
        raise BadRecord(
            "wrong_format", "one message of OpenAssistant's flat export; pass its file of trees, *.trees.jsonl"
        )
    if fields.get("tree_state") in STOPPED:
        raise BadRecord(LEFT_OUT, f"tree_state is {fields['tree_state']}")
    if not _kept(fields["prompt"]):
        raise BadRecord(LEFT_OUT, "its first message was deleted, or failed review")
    read = {"comparisons": _rankings, "labels": _rankings, "prompts": _prompts}.get(kind)
    if read is not None:
        found: list[Record] = list(read(fields["prompt"], "prompt", ()))
    else:
        found = [make_demonstration(turns) for turns in _threads(fields["prompt"], "prompt", ())]
    if not found:
        wanted = "two ranked answers to one message" if read is _rankings else "an answer"
        raise BadRecord(WITHOUT_COMPARISON if read is _rankings else LEFT_OUT, f"the tree does not have {wanted}")
    yield from found


def _kept(message: dict[str, Any]) -> bool:
    return not message.get("deleted") and message.get("review_result") is not False


def _turn(message: dict[str, Any], path: str) -> Turn:
    role = ROLES.get(str(message.get("role")))
    if role is None:
        raise BadRecord("bad_turns", f"{path}.role must be prompter or assistant, found {message.get('role')!r}"[:200])
    return Turn(role, text_of(message, "text", f"{path}.text"))


def _replies(message: dict[str, Any], path: str) -> list[tuple[dict[str, Any], str]]:
    """The replies that are kept, with their paths."""
    replies = message.get("replies") or []
    if not isinstance(replies, list):
        raise BadRecord("wrong_type", f"{path}.replies must be a list, found {type_name(replies)}")
    found = []
    for number, reply in enumerate(replies):
        where = f"{path}.replies[{number}]"
        if not isinstance(reply, dict):
            raise BadRecord("wrong_type", f"{where} must be an object, found {type_name(reply)}")
        if _kept(reply):
            found.append((reply, where))
    return found


def _rank(message: dict[str, Any]) -> int | None:
    rank = message.get("rank")
    return rank if isinstance(rank, int) and not isinstance(rank, bool) and rank >= 0 else None


def _rankings(message: dict[str, Any], path: str, before: Turns) -> Iterator[Record]:
    turns = (*before, _turn(message, path))
    replies = _replies(message, path)
    ranked: dict[str, int] = {}
    if turns[-1].role == "user":
        for reply, where in replies:
            if (rank := _rank(reply)) is not None:
                ranked.setdefault(_turn(reply, where).text, rank + 1)
    if len(ranked) > 1:
        yield Ranking(make_prompt(turns), tuple(ranked), tuple(ranked.values()))
    for reply, where in replies:
        yield from _rankings(reply, where, turns)


def _prompts(message: dict[str, Any], path: str, before: Turns) -> Iterator[Record]:
    turns = (*before, _turn(message, path))
    if turns[-1].role == "user":
        yield make_prompt(turns)
    for reply, where in _replies(message, path):
        yield from _prompts(reply, where, turns)


def _threads(message: dict[str, Any], path: str, before: Turns) -> Iterator[Turns]:
    """Threads that end with an answer; each answer has the weight 1 in the first thread that holds it."""
    turns = (*before, _turn(message, path))
    replies = _replies(message, path)
    if turns[-1].role == "user":
        ranks = [rank for reply, _ in replies if (rank := _rank(reply)) is not None]
        replies = [(reply, where) for reply, where in replies if not ranks or _rank(reply) == min(ranks)]
    longer = False
    for reply, where in replies:
        for thread in _threads(reply, where, turns):
            yield thread
            if not longer:  # what this thread has taught is context in the next ones
                longer = True
                turns = tuple(Turn(turn.role, turn.text, weight=0) for turn in turns)
    if not longer and turns[-1].role == "assistant" and turns[-1].weight:
        yield turns
