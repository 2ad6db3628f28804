"""People who talk to two hidden models at once, and say after each turn which one answered better.

The answer that was preferred continues the conversation for both models, so that the two answers to the next question
have the same conversation in front of them and make a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rlhf.data.records import Prompt
from rlhf.labelling.desk import Desk, Refused, Stale, checked_name
from rlhf.labelling.questions import Question, make_question
from rlhf.labelling.vote_log import Said, VoteLog
from rlhf.plain_text import printable

Answer = Callable[[int, Prompt, str, int], Iterable[str]]
"""The answer of a model (its number) to a conversation, piece by piece; the annotator and a number that is another one
for each question make what is drawn."""
Heard = Callable[[int, str], None]
"""Takes a piece of the answer at a place."""
LONGEST_QUESTION = 20_000
"""Characters."""


@dataclass
class Talk:
    """A conversation.

    Attributes:
        turns: what was said and settled. question: the two answers that wait for a vote.
        places: which of them stands at each place.
        asked: questions so far, in this process. busy: the models are answering.
        before: what undoing votes leads back to.
    """

    turns: tuple[tuple[str, str], ...] = ()
    question: Question | None = None
    places: tuple[int, ...] = ()
    asked: int = 0
    busy: bool = False
    note: str = ""
    before: list[tuple[tuple[tuple[str, str], ...], Question, tuple[int, ...]]] = field(default_factory=list)


class Arena(Desk):
    """A desk at which the questions are the annotators' own.

    Args:
        names: of the two models.
    """

    def __init__(self, answer: Answer, names: Sequence[str], log: VoteLog, seed: int) -> None:
        super().__init__((), log, seed)
        self.answer, self.names = answer, tuple(names)
        self._talks: dict[str, Talk] = {}

    def next(self, annotator: str) -> Question | None:
        """The two answers that wait for this annotator's vote."""
        return self._talk(annotator).question

    def places(self, annotator: str, question: Question) -> tuple[int, ...]:
        """As of a desk. They were drawn before the answers were there, since those are shown while they are written: a
        function of the seed, the annotator and the number of the question."""
        return self._talk(annotator).places

    def done(self, annotator: str) -> int:
        """Votes and skips so far."""
        return len(self._history.get(annotator, ()))

    def total(self, annotator: str) -> int | None:
        """Nobody knows."""
        return None

    def state(self, annotator: str) -> dict[str, Any]:
        """As of a desk, and `talk`: the conversation so far; `note`: what there is to say of the last question."""
        with self.lock:
            found, talk = super().state(annotator), self._talk(annotator)
            found["talk"] = [[role, printable(text)] for role, text in talk.turns]
            found["note"] = talk.note
            return found

    def say(self, annotator: str, turn: int, text: str, heard: Heard = lambda place, piece: None) -> None:
        """Ask both models, the one at the first place first. Their answers are dropped if a vote was taken back
        meanwhile.

        Raises:
            Stale: it is no longer this turn. Refused: a vote is due first, or there is nothing to answer.
            UserError: a model can't read the question, which may be too long.
        """
        checked_name(annotator)
        if not text.strip() or len(text) > LONGEST_QUESTION:
            raise Refused(f"a question has 1 to {LONGEST_QUESTION} characters")
        with self.lock:
            self._check_turn(annotator, turn)
            talk = self._talk(annotator)
            if talk.busy:
                raise Stale("the models are answering")
            if talk.question is not None:
                raise Refused("vote first")
            number, talk.busy, talk.note = turn + talk.asked, True, ""
            talk.asked += 1
            turns = (*talk.turns, ("user", text.strip()))
        try:
            prompt, n = Prompt(turns), len(self.names)
            order = Random(f"sides {self.seed} arena {annotator} {number}").sample(range(n), n)
            answers = [""] * n
            for place, model in enumerate(order):
                for piece in self.answer(model, prompt, annotator, number):
                    answers[model] += piece
                    heard(place, piece)
            answers = [answer.strip() for answer in answers]
        finally:
            talk.busy = False
        with self.lock:
            if self._turns.get(annotator, 0) != turn:
                return  # another window undid a vote meanwhile: these answers continue what no longer stands
            if not all(answers):
                talk.note = "empty"
            elif len(set(answers)) == 1:
                talk.turns, talk.note = (*turns, ("assistant", answers[0])), "same"
            else:
                talk.question = make_question("arena", prompt, answers, self.names)
                talk.places = tuple(talk.question.responses.index(answers[model]) for model in order)

    def reset(self, annotator: str, turn: int) -> None:
        """Begin a new conversation; answers that wait for a vote are dropped."""
        with self.lock:
            self._check_turn(checked_name(annotator), turn)
            self._talks[annotator] = Talk(asked=self._talk(annotator).asked)

    def vote(self, annotator: str, turn: int, question_id: str, said: Said, order: Sequence[int] | None = None) -> None:
        """As of a desk. After a tie the answer that stood first continues the conversation."""
        with self.lock:
            question = self.next(annotator)
            super().vote(annotator, turn, question_id, said, order)
            assert question is not None and said.ranks is not None
            best = self.places(annotator, question)[said.ranks.index(min(said.ranks))]
            self._settle(annotator, question, (*question.prompt.turns, ("assistant", question.responses[best])))

    def skip(self, annotator: str, turn: int, question_id: str) -> None:
        """As of a desk; the question is taken out of the conversation."""
        with self.lock:
            question = self.next(annotator)
            super().skip(annotator, turn, question_id)
            assert question is not None
            self._settle(annotator, question, self._talk(annotator).turns)

    def undo(self, annotator: str, turn: int) -> None:
        """As of a desk; the conversation goes back to the question, unless another one was begun since."""
        with self.lock:
            super().undo(annotator, turn)
            talk = self._talk(annotator)
            talk.note = ""
            if talk.before:
                talk.turns, talk.question, talk.places = talk.before.pop()

    def _settle(self, annotator: str, question: Question, turns: tuple[tuple[str, str], ...]) -> None:
        talk = self._talk(annotator)
        talk.before.append((talk.turns, question, talk.places))
        talk.turns, talk.question, talk.note = turns, None, ""

    def _talk(self, annotator: str) -> Talk:
        return self._talks.setdefault(annotator, Talk())
