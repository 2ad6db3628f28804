"""Several people at one set of questions: what each is asked next, and what becomes of their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rlhf.labelling.questions import Question, ordered, sides
from rlhf.labelling.tally import Tally
from rlhf.labelling.vote_log import Line, Said, VoteLog, event_line, standing, undo_line
from rlhf.plain_text import printable

HELD = 600.0
"""Seconds for which a question that somebody looks at counts as answered by them, where `votes_per_question` is set."""
LONGEST_NAME, LONGEST_COMMENT = 40, 2000


class Refused(Exception):
    """What a page asked for can't be done; the message says why. Nothing was written."""


class Stale(Refused):
    """The page shows a turn that is over: another window, or an earlier try, was first."""


class Desk:
    """Questions, annotators and the log. Safe to be called from several threads.

    Args:
        log: the open file; what it holds counts.
        votes_per_question: so many annotators are asked each question; `None`: all of them.
        clock: seconds, for questions that somebody looks at.

    Attributes:
        task: of the questions.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        log: VoteLog,
        seed: int,
        votes_per_question: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.questions = ordered(questions, seed)
        self.task = questions[0].task if questions else "arena"
        self.log, self.seed, self.votes_per_question, self.clock = log, seed, votes_per_question, clock
        self.lock = threading.RLock()
        self.tally = Tally()
        self._turns: dict[str, int] = {}
        self._history: dict[str, list[Line]] = {}
        self._seen: dict[str, set[str]] = {}
        self._held: dict[str, dict[str, float]] = {}
        for line in log.lines:
            self._turns[line["annotator"]] = max(self._turns.get(line["annotator"], 0), line["turn"] + 1)
        for line in standing(log.lines):
            self._count(line)

    def state(self, annotator: str) -> dict[str, Any]:
        """What the page of an annotator shows: how far they are, and the next question, if there is one.

        Raises:
            Refused: the name is empty or too long.
        """
        annotator = checked_name(annotator)
        with self.lock:
            question = self.next(annotator)
            history = self._history.get(annotator, [])
            found: dict[str, Any] = {
                "annotator": annotator,
                "task": self.task,
                "turn": self._turns.get(annotator, 0),
                "done": self.done(annotator),
                "total": self.total(annotator),
                "votes": self.tally.votes,
                "annotators": len(self._turns),
                "agreement": self.tally.agreement(),
                "can_undo": bool(history),
                "question": None,
            }
            if question is not None:
                places = self.places(annotator, question)
                found["question"] = {
                    "id": question.id,
                    "task": question.task,
                    "prompt": [[role, printable(text)] for role, text in question.prompt.turns],
                    "responses": [printable(question.responses[i]) for i in places],
                    "order": list(places),
                    "scores": [question.scores[i] for i in places] if question.scores else None,
                }
            return found

    def next(self, annotator: str) -> Question | None:
        """The first question that this annotator has not seen and that still needs them."""
        seen, wanted = self._seen.get(annotator, set()), self.votes_per_question
        for question in self.questions:
            if question.id in seen or (wanted is not None and len(self._others(question, annotator)) >= wanted):
                continue
            if wanted is not None:
                self._held.setdefault(question.id, {})[annotator] = self.clock()
            return question
        return None

    def places(self, annotator: str, question: Question) -> tuple[int, ...]:
        """Which answer stands at each place, where this annotator is asked."""
        return sides(self.seed, question, annotator)

    @property
    def events(self) -> int:
        """Lines of the log so far."""
        return sum(self._turns.values())

    def done(self, annotator: str) -> int:
        """Questions that an annotator voted on or skipped; of other questions the log may hold votes too."""
        seen = self._seen.get(annotator, set())
        return sum(question.id in seen for question in self.questions)

    def total(self, annotator: str) -> int | None:
        """Questions that an annotator will have been asked at the end, as far as it is known; `None`: without end."""
        if self.votes_per_question is None:
            return len(self.questions)
        seen = self._seen.get(annotator, set())
        left = (q for q in self.questions if q.id not in seen)
        return self.done(annotator) + sum(
            len(self._others(q, annotator)) < (self.votes_per_question or 0) for q in left
        )

    def _others(self, question: Question, annotator: str) -> set[str]:
        """Those who voted on a question, or are looking at it."""
        since = self.clock() - HELD
        looking = {name for name, when in self._held.get(question.id, {}).items() if when > since}
        return (self.tally.voters(question.id) | looking) - {annotator}

    def vote(self, annotator: str, turn: int, question_id: str, said: Said, order: Sequence[int] | None = None) -> None:
        """Take what an annotator says of the question that they were shown.

        Args:
            said: its ranks belong to the places at which the answers were shown.
            order: which answer stood at each place, as `state` said; `None`: as it would be shown now. A page that was
                opened before a restart with another seed shows another order.

        Raises:
            Stale: it is no longer this turn. Refused: it does not fit the question.
            OSError: it could not be written.
        """
        with self.lock:
            question, places = self._current(annotator, turn, question_id)
            if order is not None and tuple(order) != places:
                raise Stale("the answers stand in another order now")
            said = unshuffled(said, places)
            check_said(question, said)
            self._append(event_line("vote", annotator, turn, question, places, said))

    def skip(self, annotator: str, turn: int, question_id: str) -> None:
        """Not to be asked this question; raises as `vote`."""
        with self.lock:
            question, places = self._current(annotator, turn, question_id)
            self._append(event_line("skip", annotator, turn, question, places))

    def undo(self, annotator: str, turn: int) -> None:
        """Take back the annotator's last vote or skip; its question comes again.

        Raises:
            Stale: it is no longer this turn. Refused: there is nothing to take back.
            OSError: it could not be written.
        """
        with self.lock:
            self._check_turn(annotator, turn)
            history = self._history.get(annotator)
            if not history:
                raise Refused("nothing to undo")
            line = history[-1]
            self._append(undo_line(annotator, turn, line["turn"]))
            history.pop()
            self._seen[annotator].discard(line["question"])
            self.tally.remove(line)

    def _current(self, annotator: str, turn: int, question_id: str) -> tuple[Question, tuple[int, ...]]:
        self._check_turn(checked_name(annotator), turn)
        question = self.next(annotator)
        if question is None or question.id != question_id:
            raise Stale("another question is next")
        return question, self.places(annotator, question)

    def _check_turn(self, annotator: str, turn: int) -> None:
        if turn != self._turns.get(annotator, 0):
            raise Stale(f"turn {turn} is over")

    def _append(self, line: dict[str, Any]) -> None:
        """Write an event, then count it: a vote that can't be written is none."""
        self.log.append(line)
        self._turns[line["annotator"]] = line["turn"] + 1
        if line["event"] != "undo":
            self._count(line)  # type: ignore[arg-type]

    def _count(self, line: Line) -> None:
        annotator = line["annotator"]
        self._history.setdefault(annotator, []).append(line)
        self._seen.setdefault(annotator, set()).add(line["question"])
        # Who skipped a question keeps it from nobody.
        self._held.get(line["question"], {}).pop(annotator, None)
        self.tally.add(line)


def checked_name(name: str) -> str:
    """The name of an annotator.

    Raises:
        Refused: it is empty, too long, or has characters that can't be seen.
    """
    if not name or name != name.strip() or len(name) > LONGEST_NAME or printable(name) != name or "\n" in name:
        raise Refused(f"a name has 1 to {LONGEST_NAME} visible characters")
    return name


def unshuffled(said: Said, places: Sequence[int]) -> Said:
    """What was said of the answers by their places, by the answers themselves.

    Raises:
        Refused: there are more or fewer ranks than answers.
    """
    if said.ranks is None:
        return said
    if len(said.ranks) != len(places):
        raise Refused(f"{len(places)} answers need as many ranks")
    ranks = [0] * len(places)
    for place, rank in zip(places, said.ranks, strict=True):
        ranks[place] = rank
    return Said(tuple(ranks), said.desirable, said.comment)


def check_said(question: Question, said: Said) -> None:
    """Raises:
    Refused: it does not fit the question.
    """
    if len(said.comment) > LONGEST_COMMENT:
        raise Refused(f"a reason has at most {LONGEST_COMMENT} characters")
    if len(question.responses) == 1:
        if said.ranks is not None:
            raise Refused("a single answer has no rank")
        return
    ranks = said.ranks
    if ranks is None or said.desirable is not None:
        raise Refused("several answers need ranks")
    # Ranks as in a competition without gaps: 1 is there, and none is left out below the worst.
    # Not range(max(ranks)): a rank may be any number that was sent.
    if sorted(set(ranks)) != list(range(1, len(set(ranks)) + 1)):
        raise Refused("ranks go from 1 without a gap")
    if question.task == "best" and sorted(ranks)[1:] != [2] * (len(ranks) - 1):
        raise Refused("one answer is the best, and the others share the second place")
