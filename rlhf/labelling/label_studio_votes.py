"""Annotations of Label Studio as votes: who says what, and what a log of votes lacks of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

from rlhf.data.importers.label_studio import TIE
from rlhf.labelling.desk import Refused, checked_name
from rlhf.labelling.label_studio_tasks import BETTER, RANK
from rlhf.labelling.questions import Question
from rlhf.labelling.vote_log import Line, Said, event_line, standing, undo_line
from rlhf.storage.shapes import fits

SKIPPED, UNDECIDED, UNCLEAR = "skipped", "undecided", "unclear"
"""Annotations that are no votes: skipped; nothing chosen; contradictory, or not all answers ranked."""


@dataclass(frozen=True)
class Annotation:
    """What one person's newest annotation of a task says.

    Attributes:
        id: as in the log: of its project, and its number.
        time: of its last change, as in the log.
        said: `None`: skipped.
    """

    id: str
    annotator: str
    time: str
    question: Question
    shown: tuple[int, ...]
    said: Said | None


class Given(TypedDict):
    """What is used of an annotation as the server sends it."""

    id: int
    result: list[dict[str, Any]]
    was_cancelled: NotRequired[bool]
    completed_by: NotRequired[Any]
    updated_at: NotRequired[str | None]
    created_at: NotRequired[str | None]


def person_of(annotation: Mapping[str, Any]) -> int:
    """The number of who made an annotation; 0: nobody knows."""
    person = annotation.get("completed_by")
    number = person.get("id") if isinstance(person, dict) else person
    return number if isinstance(number, int) else 0


def read_tasks(
    project: str,
    tasks: Iterable[tuple[Question, Mapping[str, Any]]],
    names: Mapping[int, str],
    left_out: Counter[str],
) -> list[Annotation]:
    """What people say. Of several annotations by one person of one question the one that was changed last counts.

    Args:
        project: a text that no other project has, on this server or on another one.
        tasks: each with its question.
        names: of people, by their numbers.
        left_out: counts annotations that are no votes, by reason; skips too.
    """
    last: dict[tuple[int, str], tuple[tuple[str, int], Mapping[str, Any], Question, tuple[int, ...]]] = {}
    for question, task in tasks:
        for annotation in task.get("annotations") or ():
            if not fits(annotation, Given):
                left_out[UNCLEAR] += 1
                continue
            key, age = (person_of(annotation), question.id), (_time(annotation), annotation["id"])
            if key not in last or last[key][0] < age:
                last[key] = age, annotation, question, tuple(task["data"]["shown"])
    found = []
    for (person, _), ((time, id), annotation, question, shown) in last.items():
        said = said_in(annotation, shown)
        if isinstance(said, str):
            left_out[said] += 1
        if isinstance(said, Said) or said == SKIPPED:
            votes = said if isinstance(said, Said) else None
            found.append((id, Annotation(f"{project}:{id}", names[person], time, question, shown, votes)))
    return [one for _, one in sorted(found, key=lambda numbered: (numbered[1].time, numbered[0]))]


def said_in(annotation: Mapping[str, Any], shown: Sequence[int]) -> Said | str:
    """The ranks of a question's answers, or why there are none."""
    if annotation.get("was_cancelled"):
        return SKIPPED
    values = {result.get("from_name"): result.get("value") for result in annotation["result"]}
    tie, better, order = values.get(TIE), values.get(BETTER), values.get(RANK)
    if order is not None:
        return _ranked(order, shown)
    selected = better.get("selected") if isinstance(better, dict) else None
    tied = isinstance(tie, dict) and tie.get("choices") == [TIE]
    if selected in ("left", "right"):
        # Who says that one is better and that neither is has made a mistake, and which one nobody knows.
        return UNCLEAR if tied else _at_places((1, 2) if selected == "left" else (2, 1), shown)
    return _at_places((1, 1), shown) if tied else UNDECIDED


def _ranked(value: Any, shown: Sequence[int]) -> Said | str:
    order = value.get("ranker") if isinstance(value, dict) else None
    order = next(iter(order.values()), None) if isinstance(order, dict) and len(order) == 1 else order
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(map(str, range(len(shown)))):
        return UNCLEAR if order else UNDECIDED
    ranks = [0] * len(shown)
    for rank, place in enumerate(order, 1):
        ranks[int(place)] = rank
    return _at_places(ranks, shown)


def _at_places(ranks: Sequence[int], shown: Sequence[int]) -> Said:
    found = [0] * len(shown)
    for place, rank in zip(shown, ranks, strict=True):
        found[place] = rank
    return Said(tuple(found))


def _time(annotation: Mapping[str, Any]) -> str:
    """When it was last changed, as in the log; empty where it does not say."""
    try:
        when = datetime.fromisoformat(annotation.get("updated_at") or annotation.get("created_at") or "")
    except (ValueError, TypeError):
        return ""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def people(users: Iterable[Mapping[str, Any]], known: Mapping[int, str], seen: Iterable[int]) -> dict[int, str]:
    """Names of annotators, none twice. Who had a name keeps it, whatever they call themselves now.

    A name is the first and the last one, else the user's name, else what stands in front of the @ of their address:
    e-mail addresses stand in no data that is trained on.

    Args:
        users: as the server lists them.
        known: names from earlier.
        seen: numbers of those who need one.
    """
    listed = {user["id"]: user for user in users if isinstance(user.get("id"), int)}
    found = dict(known)
    for number in sorted(set(seen) - known.keys()):
        user = listed.get(number, {})
        full = " ".join(str(user.get(part) or "").strip() for part in ("first_name", "last_name")).strip()
        name = full or str(user.get("username") or user.get("email") or "").split("@")[0]
        try:
            name = checked_name(name)
        except Refused:
            name = f"user {number}"
        found[number] = f"{name} ({number})" if name in found.values() else name
    return found


@dataclass
class Changes:
    """Lines to append to the log, and how many of them are what."""

    lines: list[dict[str, Any]]
    new: int = 0
    changed: int = 0
    taken_back: int = 0


def changes(log: Sequence[Line], annotations: Iterable[Annotation], project: str, present: Collection[str]) -> Changes:
    """What the log lacks of the annotations of a project. One that was changed is an undo and a new vote; one that is
    gone is undone, unless its whole task is gone too: whoever clears a server up takes no votes back. Who votes on the
    same question in another project changes their vote.

    What was undone on the page stays undone until its annotation is changed.

    Args:
        log: all lines.
        annotations: one for each person and question.
        project: as of `read_tasks`.
        present: questions that the server still has.
    """
    turns: dict[str, int] = {}
    for line in log:
        turns[line["annotator"]] = max(turns.get(line["annotator"], 0), line["turn"] + 1)
    taken = {(line["annotator"], line["undone"]) for line in log if line["event"] == "undo" and "annotation" in line}
    mine = [
        line
        for line in log
        if line["event"] != "undo" and "annotation" in line and (line["annotator"], line["turn"]) not in taken
    ]
    before = {line["annotation"]: line for line in mine}
    stands = {(line["annotator"], line["turn"]) for line in standing(log)}
    votes = {
        (line["annotator"], line["question"]): line for line in mine if (line["annotator"], line["turn"]) in stands
    }
    found, now = Changes([]), {one.id: one for one in annotations}
    said = {(one.annotator, one.question.id) for one in now.values()}

    def append(line: dict[str, Any], annotation: str) -> None:
        found.lines.append({**line, "turn": turns.get(line["annotator"], 0), "annotation": annotation})
        turns[line["annotator"]] = turns.get(line["annotator"], 0) + 1

    def undo(line: Line) -> None:
        append(undo_line(line["annotator"], 0, line["turn"]), line["annotation"])
        del votes[line["annotator"], line["question"]]

    for line in list(votes.values()):
        gone = line["annotation"] not in now and line["annotation"].startswith(f"{project}:")
        if gone and line["question"] in present and (line["annotator"], line["question"]) not in said:
            undo(line)
            found.taken_back += 1
    for one in now.values():
        event = "skip" if one.said is None else "vote"
        made = event_line(event, one.annotator, 0, one.question, one.shown, one.said) | {"time": one.time}
        earlier, stands_now = before.get(one.id), votes.get((one.annotator, one.question.id))
        if earlier is not None:
            same = all(made.get(name) == earlier.get(name) for name in ("event", "question", "ranks"))
            if one.time == earlier["time"] or (same and earlier is stands_now):
                continue
        if stands_now is not None:
            undo(stands_now)
            found.changed += 1
        else:
            found.new += 1
        append(made, one.id)
    return found
