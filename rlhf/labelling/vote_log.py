"""The file of votes: appended to and never rewritten, each line on disk before anybody is told that it counts.

A line is an event: a `vote`, a `skip`, or an `undo` of an earlier event of the same annotator. Each event has the
number of its annotator's turn. A page says which turn it answers, and only the next one is taken: what is sent twice,
by a second window or after a lost connection, counts once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from rlhf.data.records import asked
from rlhf.errors import ConfigError, DataError
from rlhf.labelling.questions import Question
from rlhf.runs.files import json_line
from rlhf.storage.disk import sync_folder
from rlhf.storage.inside import no_links
from rlhf.storage.reading import Unreadable, read_json_lines
from rlhf.storage.shapes import fits

FILE = "votes.jsonl"
EVENTS = ("vote", "skip", "undo")


class Line(TypedDict):
    """One line of the file. `shown`: which answer stood at each place. `ranks`: of the answers, 1 is best; `desirable`:
    of the only one. `undone`: the turn that an undo takes back. `annotation`: its project in Label Studio and its
    number there, where it came from there."""

    event: str
    annotator: str
    turn: int
    time: str
    question: NotRequired[str]
    task: NotRequired[str]
    prompt: NotRequired[Any]
    responses: NotRequired[list[str]]
    shown: NotRequired[list[int]]
    ranks: NotRequired[list[int] | None]
    desirable: NotRequired[bool | None]
    comment: NotRequired[str]
    sources: NotRequired[list[str]]
    scores: NotRequired[list[float]]
    undone: NotRequired[int]
    annotation: NotRequired[str]


@dataclass(frozen=True)
class Said:
    """What an annotator says of a question: `ranks` of its answers, or of a single one whether it is `desirable`;
    neither of both where they can't tell."""

    ranks: tuple[int, ...] | None = None
    desirable: bool | None = None
    comment: str = ""


def event_line(
    event: str, annotator: str, turn: int, question: Question, shown: Iterable[int], said: Said | None = None
) -> dict[str, Any]:
    """A `vote` or a `skip` as it is written: everything that was asked is in it, so that the file needs no other."""
    line: dict[str, Any] = {"event": event, "annotator": annotator, "turn": turn, "time": now()}
    line |= {"question": question.id, "task": question.task, **asked(question.prompt)}
    line |= {"responses": list(question.responses), "shown": list(shown)}
    line |= {"sources": list(question.sources)} if question.sources else {}
    line |= {"scores": list(question.scores)} if question.scores else {}
    if said is not None:
        line |= {"desirable": said.desirable} if len(question.responses) == 1 else {}
        line |= {"ranks": list(said.ranks)} if said.ranks is not None else {}
        line |= {"comment": said.comment} if said.comment else {}
    return line


def undo_line(annotator: str, turn: int, undone: int) -> dict[str, Any]:
    """An `undo` as it is written."""
    return {"event": "undo", "annotator": annotator, "turn": turn, "time": now(), "undone": undone}


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class VoteLog:
    """The open file of one process; another one is refused while it is open.

    Attributes:
        lines: what the file held when it was opened, whole lines only.

    Raises:
        ConfigError: another process has it open, or it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            self._stream = open(self.path, "ab", buffering=0, opener=no_links)  # noqa: SIM115
        except OSError as error:
            raise ConfigError(f"out: {self.path} can't be written: {error.strerror or error}") from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise ConfigError(
                f"out: {self.path} is open in another process; stop that one, or pass another out=FOLDER"
            ) from None
        if new:
            sync_folder(folder)
        self.lines = read_votes(self.path)
        # A kill in the middle of a line leaves a part of it, which nobody was told to count on.
        self._torn = not _ends_whole(self.path)

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line; it is on disk when this returns.

        Raises:
            OSError: it could not be written whole, and does not count.
        """
        content = (b"\n" if self._torn else b"") + json_line(line).encode()
        self._torn = True
        written = 0
        while written < len(content):
            written += self._stream.write(content[written:]) or 0
        os.fsync(self._stream.fileno())
        self._torn = False

    def close(self) -> None:
        """Let others in."""
        self._stream.close()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def read_votes(path: Path) -> list[Line]:
    """The events of a file, in order; lines that are none are left out. Where a turn stands there twice, since writing
    it failed after it had reached the disk, the later line counts: it is the one that was confirmed.

    Raises:
        DataError: there is no such file.
    """
    try:
        found = [line for line in read_json_lines(path) if is_event(line)]
    except (OSError, Unreadable) as error:
        raise DataError(f"{path}: not a file of votes that can be read: {error}") from error
    latest: dict[tuple[str, int], Any] = {(line["annotator"], line["turn"]): line for line in found}
    return list(latest.values())


def is_event(line: Mapping[str, Any]) -> bool:
    """Whether a line is an event of ours, whole and consistent."""
    if line.get("event") not in EVENTS or not fits(line, Line):
        return False
    if line["event"] == "undo":
        return "undone" in line
    if not {"question", "prompt", "responses", "shown"} <= line.keys():
        return False
    ranks, n = line.get("ranks"), len(line["responses"])
    return sorted(line["shown"]) == list(range(n)) and (ranks is None or (len(ranks) == n and min(ranks) >= 1))


def standing(lines: Iterable[Line]) -> Iterator[Line]:
    """Votes and skips that were not undone, in the order of the file."""
    lines = list(lines)
    undone = {(line["annotator"], line["undone"]) for line in lines if line["event"] == "undo"}
    for line in lines:
        if line["event"] != "undo" and (line["annotator"], line["turn"]) not in undone:
            yield line
