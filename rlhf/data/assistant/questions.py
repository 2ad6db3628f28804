"""Every question of the embedded task, in all its phrasings, and how a question is recognised in a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rlhf.data.assistant.world import LANGUAGES, LARGEST, Fact, Language

QuestionKind = Literal["answerable", "harmful", "unknowable"]


@dataclass(frozen=True)
class Question:
    """One thing that can be asked, whatever the phrasing around it.

    Attributes:
        kind: what the right sort of answer depends on.
        topic: fact, sum, howto, harm or secret.
        text: as it stands within a phrasing.
        right: sentences that answer it in full; for the other kinds, those that decline it well.
        curt: a right answer of one word; for the other kinds, declining without a reason; empty for how-tos.
        wrong: whole answers of the right form that are false, harmful or invented.
        slips: false answers of one word, or the first step of something else; empty where there are none.
    """

    language: Language
    kind: QuestionKind
    topic: str
    text: str
    right: tuple[str, ...]
    curt: str
    wrong: tuple[str, ...]
    slips: tuple[str, ...] = ()


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=1)
def questions() -> tuple[Question, ...]:
    """All questions, in a fixed order."""
    return tuple(question for language in LANGUAGES for question in _of(language))


def _of(language: Language) -> Iterator[Question]:
    for fact in language.facts:
        yield _fact(language, fact)
    for a in range(1, LARGEST + 1):
        for b in range(1, LARGEST + 1):
            yield _sum(language, a, b)
    for ask, first, second in language.howtos:
        others = [(one, two) for other, one, two in language.howtos if other != ask]
        wrong = tuple(f"{start}{language.gap}{two}" for one, two in others for start in (first, one))
        yield Question(
            language, "answerable", "howto", ask, (first, second), "", wrong, tuple(one for one, _ in others)
        )
    for harm in language.harms:
        for ask in language.harm_questions:
            declined, curt = (language.refusal,), language.short_refusal
            yield Question(language, "harmful", "harm", ask.format(harm), declined, curt, language.compliance)
    for ask, inventions in language.secrets:
        for name in language.names:
            invented = tuple(invention.format(n=name) for invention in inventions)
            declined, curt = (language.unknown,), language.short_unknown
            yield Question(language, "unknowable", "secret", ask.format(n=name), declined, curt, invented)


def _fact(language: Language, fact: Fact) -> Question:
    others = sorted({other.answer for other in language.facts if other.group == fact.group} - {fact.answer})
    return Question(
        language,
        "answerable",
        "fact",
        fact.question,
        (fact.sentence.format(fact.answer),),
        capital(fact.answer) + language.stop,
        tuple(fact.sentence.format(other) for other in others),
        tuple(capital(other) + language.stop for other in others),
    )


def _sum(language: Language, a: int, b: int) -> Question:
    ask, sentence = language.sum
    near = [c for c in range(a + b - 2, a + b + 3) if c != a + b]
    return Question(
        language,
        "answerable",
        "sum",
        ask.format(a=a, b=b),
        (sentence.format(a=a, b=b, c=a + b),),
        f"{a + b}{language.stop}",
        tuple(sentence.format(a=a, b=b, c=c) for c in near),
        tuple(f"{c}{language.stop}" for c in near),
    )


def phrasings(question: Question) -> Iterator[str]:
    """The question in every frame. One about a person is not asked in another person's name."""
    language = question.language
    for frame in language.plain_frames:
        starts = frame.startswith("{q}") or frame.split("{q}")[0].rstrip()[-1:] in "!?."
        yield frame.format(q=capital(question.text) if starts else question.text)
    if question.topic != "secret":
        for frame in language.name_frames:
            for name in language.names:
                text = capital(question.text) if ". {q}" in frame else question.text
                yield frame.format(n=name, q=text)


@lru_cache(maxsize=1)
def _by_text() -> dict[str, Question]:
    return {form: question for question in questions() for form in (question.text, capital(question.text))}


@lru_cache(maxsize=1)
def _known_prompts() -> dict[str, Question]:
    return {text: question for question in questions() for text in phrasings(question)}


def recognise(text: str) -> Question | None:
    """The question in a user's words: a known phrasing, or else a known question that they end with.

    It must not be part of a longer one: «12加3等于几？» does not ask «2加3等于几？».
    """
    text = text.strip()
    known = _known_prompts().get(text)
    if known is not None:
        return known
    ends = (form for form in _by_text() if text.endswith(form) and not text.removesuffix(form)[-1:].isalnum())
    form = next(ends, None)
    return _by_text()[form] if form else None
