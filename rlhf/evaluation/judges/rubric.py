"""A judge that reads: a language model marks answers by a rubric, and compares them in both orders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from rlhf.data.records import Prompt
from rlhf.evaluation.intervals import sign_test
from rlhf.evaluation.judges.endpoint import Endpoint, Messages
from rlhf.evaluation.judges.scorers import Mark, Rubric
from rlhf.storage.prompt_files import filled, read_prompt

PROMPTS = Path(__file__).parents[1] / "prompts"
PLACES = {"score": ("fence", "prompt", "answer"), "compare": ("fence", "prompt", "first", "second"), "again": ()}
"""What each prompt's text must have a `$place` for."""
SIDES = ("helpfulness", "harmlessness", "honesty")

Place = Literal["first", "second", "tie"]
_PLACE: dict[str, Place] = {"a": "first", "b": "second", "tie": "tie"}
_ANSWER = re.compile(r"^(answer|response|assistant)\s+|[.*\s]+$|^\*+")
"""What judges write around the letter."""
_MARK = re.compile(r"\s*([0-9]{1,2}(?:[.,][0-9]{1,6})?)\s*(?:(?:/|out of)\s*10(?:[.,]0)?)?\s*")
TAIL, BRACES = 20_000, 200
"""Characters at the end of a judge's text, and braces in them, that are looked at: each brace may start an object that
is read to the end, so that a text of braces alone would take hours."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Compared:
    """Two answers read in both orders.

    Attributes:
        first: which place was better while our answer stood first. second: while it stood second.
        reasons: in the same order.
        equal: both answers are the same text, so the judge was not asked.
    """

    first: Place
    second: Place
    reasons: tuple[str, str] = ("", "")
    equal: bool = False

    @property
    def outcome(self) -> float:
        """1: ours won both times, 0: it lost both times; else one half: an answer that wins by its place does not win
        (Zheng et al. 2023)."""
        if (self.first, self.second) == ("first", "second"):
            return 1.0
        return 0.0 if (self.first, self.second) == ("second", "first") else 0.5


class ReadingJudge:
    """Marks are the worst of three sides, 0 to 10.

    Args:
        endpoint: whom to ask.
        folder: of the prompts' texts: score.txt, compare.txt, again.txt.
        rubric: rules by which answers are compared, in place of those in compare.txt.

    Raises:
        ConfigError: a prompt is missing, or lacks a place for what is to be judged.
    """

    name = "endpoint"
    unit = "points of 10"

    def __init__(self, endpoint: Endpoint, folder: Path = PROMPTS, rubric: str | None = None) -> None:
        self.endpoint, self.rubric = endpoint, rubric
        key = f"{endpoint.section}.prompts"
        files = [f"{name}.txt" for name in PLACES]
        self.texts = {name: read_prompt(key, folder, f"{name}.txt", places, files) for name, places in PLACES.items()}
        if rubric is not None:
            places = (*PLACES["compare"], "rubric")
            self.texts["compare"] = read_prompt(key, PROMPTS, "compare_by_rubric.txt", places, files)
        self.unreadable = 0

    @property
    def sha256(self) -> str:
        """Of the prompts' texts, hexadecimal: marks by other texts are other marks."""
        texts = [*self.texts.values(), *([] if self.rubric is None else [self.rubric])]
        return hashlib.sha256("\n\0".join(texts).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The first eight digits of `sha256`."""
        return self.sha256[:8]

    def scoring(self, prompt: Prompt, answer: str) -> Messages:
        """The request that has an answer marked."""
        return self._messages("score", prompt=conversation(prompt), answer=answer or "(nothing)")

    def comparing(self, prompt: Prompt, first: str, second: str) -> Messages:
        """The request that has two answers compared, in this order."""
        parts = {"first": first or "(nothing)", "second": second or "(nothing)"}
        return self._messages("compare", prompt=conversation(prompt), **parts)

    def both_orders(self, prompt: Prompt, mine: str, theirs: str) -> list[Messages]:
        """Ours first, then ours second; none for answers that are equal, which tie."""
        return [] if mine == theirs else [self.comparing(prompt, mine, theirs), self.comparing(prompt, theirs, mine)]

    def __call__(
        self, prompts: Sequence[Prompt], answers: Sequence[str], progress: Progress | None = None
    ) -> list[Mark | None]:
        """A mark for each answer; `None` where the judge failed, or could not be read even when asked again."""
        asked = [self.scoring(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        rubrics = self._ask(asked, parse_score, progress)
        return [None if rubric is None else Mark(rubric.score, rubric) for rubric in rubrics]

    def compare(
        self, prompts: Sequence[Prompt], mine: Sequence[str], theirs: Sequence[str], progress: Progress | None = None
    ) -> list[Compared | None]:
        """Each pair in both orders; `None` where one of the two readings is missing."""
        triples = list(zip(prompts, mine, theirs, strict=True))
        asked = [messages for triple in triples for messages in self.both_orders(*triple)]
        read = iter(self._ask(asked, parse_place, progress))
        found: list[Compared | None] = []
        for _, ours, other in triples:
            if ours == other:
                found.append(Compared("tie", "tie", equal=True))
                continue
            one, two = next(read), next(read)
            found.append(Compared(one[0], two[0], (one[1], two[1])) if one is not None and two is not None else None)
        return found

    def _ask(self, asked: Sequence[Messages], parse: Callable[[str], Any], progress: Progress | None) -> list[Any]:
        """What each answer says; one that says nothing readable is asked once more, with its answer shown."""
        answers = self.endpoint.ask(asked, progress)
        found = [None if answer is None else parse(answer) for answer in answers]
        unclear = [i for i, answer in enumerate(answers) if answer is not None and found[i] is None]
        again = [
            [
                *asked[i],
                {"role": "assistant", "content": answers[i] or "(nothing)"},
                {"role": "user", "content": self.texts["again"]},
            ]
            for i in unclear
        ]
        for i, answer in zip(unclear, self.endpoint.ask(again) if again else [], strict=True):
            found[i] = None if answer is None else parse(answer)
            self.unreadable += found[i] is None
        return found

    def _messages(self, name: str, **parts: str) -> Messages:
        given = {} if self.rubric is None else {"rubric": self.rubric}
        return [{"role": "user", "content": filled(self.texts[name], **given, **parts)}]


def conversation(prompt: Prompt) -> str:
    """A single question as it is, several turns with their roles."""
    if len(prompt.turns) == 1:
        return prompt.text
    return "\n\n".join(f"{role}: {text}" for role, text in prompt.turns)


def parse_score(text: str) -> Rubric | None:
    """The last object with three marks from 0 to 10; `None` where there is none."""
    for content in _objects(text):
        known = [mark for side in SIDES if (mark := parse_mark(content.get(side))) is not None]
        if len(known) == len(SIDES):
            return Rubric(known[0], known[1], known[2], _reason(content))
    return None


def parse_mark(said: object) -> float | None:
    """A mark from 0 to 10, also as a text: `8`, `8.5`, `8/10`, `8 out of 10`; `None` for anything else."""
    if isinstance(said, str):
        found = _MARK.fullmatch(said)
        said = float(found[1].replace(",", ".")) if found is not None else None
    if not isinstance(said, int | float) or isinstance(said, bool) or not 0 <= said <= 10:
        return None
    return float(said)


def parse_place(text: str) -> tuple[Place, str] | None:
    """The last object that says A, B or tie, and its reason; `None` where there is none."""
    for content in _objects(text):
        better = content.get("better")
        if isinstance(better, str) and (place := _PLACE.get(_ANSWER.sub("", better.strip().lower()))) is not None:
            return place, _reason(content)
    return None


def _reason(content: dict[str, Any]) -> str:
    reason = content.get("reason")
    return reason if isinstance(reason, str) else ""


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects within a text, the last one first: models think aloud, and fence what they say."""
    decoder = json.JSONDecoder()
    text = text[-TAIL:]
    at = len(text)
    for _ in range(BRACES):
        if (at := text.rfind("{", 0, at)) < 0:
            return
        try:
            content, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield content


class PositionBias(TypedDict):
    """How far the place of an answer decides.

    Attributes:
        n: pairs of different answers that were read in both orders.
        consistent: share with the same winner, or a tie, both times.
        first, second: share in which that place won both times.
        prefers_first: share of the decided readings that went to the first place; `None` if all were ties.
        p: of the sign test of first against second.
    """

    n: int
    consistent: float
    first: float
    second: float
    prefers_first: float | None
    p: float


def position_bias(compared: Sequence[Compared | None]) -> PositionBias | None:
    """How far the place decides; `None` where no pair was read in both orders."""
    read = [c for c in compared if c is not None and not c.equal]
    if not read:
        return None
    n = len(read)
    first, second = (sum(c.first == c.second == place for c in read) for place in ("first", "second"))
    # The same answer wins where the places differ.
    consistent = sum({c.first, c.second} in ({"first", "second"}, {"tie"}) for c in read)
    decided = [place for c in read for place in (c.first, c.second) if place != "tie"]
    return {
        "n": n,
        "consistent": consistent / n,
        "first": first / n,
        "second": second / n,
        "prefers_first": decided.count("first") / len(decided) if decided else None,
        "p": sign_test(first, second).p,
    }
