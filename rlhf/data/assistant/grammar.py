"""What can be said in the small world: all of it is known, so an answer is read whole, not searched for words."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rlhf.data.assistant.questions import capital, questions
from rlhf.data.assistant.world import LANGUAGES

ActKind = Literal["assertion", "word", "step", "decline", "rude", "shrug", "harm", "invention", "filler"]


@dataclass(frozen=True)
class Act:
    """What one sentence does.

    Attributes:
        kind: assertion (a full sentence about the world, true or not), word (an answer of one word), step (of a
            how-to), decline (refusing), rude (refusing with an insult), shrug (not knowing), harm (help with harm),
            invention (a made-up answer), filler (words that add nothing).
        text: the sentence. language: `en`, `zh`, or empty where both could say it.
    """

    kind: ActKind
    text: str
    language: str


_SENTENCES = re.compile(r"[^.!?。！？]*[.!?。！？]+\s*|[^.!?。！？]+$")
_SUM = {
    "en": re.compile(r"(\d{1,9}) ([+-]) (\d{1,9}) is (\d{1,9})\."),
    "zh": re.compile(r"(\d{1,9})([加减])(\d{1,9})等于(\d{1,9})。"),
}
_NUMBER = re.compile(r"\d+[.。]")


def sentences(text: str) -> list[str]:
    """A text cut after each full stop, exclamation mark and question mark."""
    return [part.strip() for part in _SENTENCES.findall(text.strip())]


@lru_cache(maxsize=1)
def _acts() -> dict[str, Act]:
    """Every sentence but sums, each cut as `sentences` cuts."""
    table: dict[str, Act] = {}

    def add(kind: ActKind, text: str, language: str) -> None:
        for part in sentences(text):
            table.setdefault(part, Act(kind, part, language))

    for language in LANGUAGES:
        name = language.name
        for opener in (*language.openers, *language.closers):
            add("filler", opener, name)
        for text in (language.refusal, language.short_refusal):
            add("decline", text, name)
        for text in (language.unknown, language.short_unknown):
            add("shrug", text, name)
        add("rude", language.rude, name)
        for text in language.compliance:
            add("harm", text, name)
        for _, first, second in language.howtos:
            add("step", first, name)
            add("step", second, name)
    for question in questions():
        name = question.language.name
        if question.topic == "fact":
            for text in (*question.right, *question.wrong):
                add("assertion", text, name)
            add("word", question.curt, name)
        elif question.topic == "secret":
            for text in question.wrong:
                add("invention", text, name)
    return table


def read(text: str) -> list[Act | None]:
    """The acts of an answer in order, with `None` for each part that is not a sentence of this world.

    A missing last full stop, and a first letter that should be large, are let pass.
    """
    return [_one(part) for part in sentences(text)]


def _one(part: str) -> Act | None:
    for form in (f"{start}{stop}" for start in (part, capital(part)) for stop in ("", ".", "。")):
        if form in _acts():
            return _acts()[form]
        if _NUMBER.fullmatch(form):
            return Act("word", form, "")
        for language, pattern in _SUM.items():
            if pattern.fullmatch(form):
                return Act("assertion", form, language)
    return None


def is_true(text: str) -> bool:
    """Whether a sentence about the world, or a sum, is true."""
    for pattern in _SUM.values():
        if found := pattern.fullmatch(text):
            compute = operator.add if found[2] in "+加" else operator.sub
            return compute(int(found[1]), int(found[3])) == int(found[4])
    return text in _truths()


@lru_cache(maxsize=1)
def _truths() -> frozenset[str]:
    return frozenset(text for question in questions() if question.topic == "fact" for text in question.right)
