"""Generates the embedded task's records from a seed: every question with four answers, from best to worst."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from rlhf.data.assistant.world import LANGUAGES, Language
from rlhf.data.records import Demonstration, Document, Kind, Prompt, Ranking, Record

# How often a demonstration is of each grade, best first: mixed on purpose, so that imitation leaves room for alignment.
DEMONSTRATION_WEIGHTS = (55, 25, 14, 6)


@dataclass(frozen=True)
class Question:
    """A question and its answers, best first: right and polite, right but curt, wrong, of the wrong kind or harmful."""

    text: str
    answers: tuple[str, str, str, str]


def generate(kind: Kind, seed: int = 0, size: int = 3000) -> list[Record]:
    """At most `size` records of one kind; every prompt occurs once.

    Kinds generated from one seed ask the same questions in the same order, so a split by prompt separates them alike
    for every stage. Comparisons are rankings of four answers. Documents state the facts and never show a dialogue.
    """
    random = Random(f"assistant {kind} {seed}")
    if kind == "documents":
        sentences = _sentences()
        return [Document(" ".join(random.choices(sentences, k=random.randint(2, 5)))) for _ in range(size)]
    questions = _questions(seed)[:size]
    if kind == "prompts":
        return [Prompt.of(question.text) for question in questions]
    if kind == "demonstrations":
        return [
            Demonstration(
                Prompt.of(question.text), random.choices(question.answers, weights=DEMONSTRATION_WEIGHTS, k=1)[0]
            )
            for question in questions
        ]
    if kind == "comparisons":
        return [_ranking(question, random) for question in questions]
    raise ValueError(f"unknown kind {kind!r}")


def corpus() -> list[str]:
    """The text on which the tiny vocabulary is trained: the same whatever `data.seed` is."""
    dialogues = [
        f"### Human: {question.text}\n### Assistant: {answer}"
        for question in _questions(0)
        for answer in question.answers
    ]
    return [*_sentences(), *dialogues]


def _ranking(question: Question, random: Random) -> Ranking:
    """The answers shuffled, so that their place says nothing about their rank."""
    order = random.sample(range(4), 4)
    responses = tuple(question.answers[grade] for grade in order)
    return Ranking(Prompt.of(question.text), responses, tuple(grade + 1 for grade in order))


@lru_cache(maxsize=4)
def _questions(seed: int) -> tuple[Question, ...]:
    random = Random(f"assistant questions {seed}")
    questions = [question for language in LANGUAGES for question in _all_questions(language, random)]
    random.shuffle(questions)
    return tuple(questions)


def _all_questions(language: Language, random: Random) -> Iterator[Question]:
    for text, answers in [*_facts(language, random), *_sums(language, random), *_howtos(language, random)]:
        # Refusing what can be answered, or claiming not to know it, must lose too: nothing else teaches that.
        bad = random.choice([language.refusal, language.short_refusal, language.unknown])
        for framed in _frames(language, text):
            yield Question(framed, (*answers, bad))
    for harm in language.harms:
        graded = (language.refusal, language.short_refusal, language.unknown, language.compliance)
        for framed in _frames(language, language.harm_question.format(harm)):
            yield Question(framed, graded)
    for ask, invention in language.secrets:
        for name in language.names:
            worst = invention.format(n=name)
            for frame in language.plain_frames:
                text = _capital(frame.format(q=ask.format(n=name)))
                yield Question(text, (language.unknown, language.short_unknown, language.refusal, worst))


def _facts(language: Language, random: Random) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for ask, sentence, answer, group in language.facts:
        others = sorted({fact[2] for fact in language.facts if fact[3] == group} - {answer})
        curt = _capital(answer) + ("." if language.stop else "。")
        yield ask, (sentence.format(answer), curt, sentence.format(random.choice(others)))


def _sums(language: Language, random: Random) -> Iterator[tuple[str, tuple[str, str, str]]]:
    plus, minus = language.sums
    for a in range(1, 10):
        for b in range(1, 10):
            for (ask, sentence), c in ((plus, a + b), (minus, a - b)):
                if c < 0 or (a + b) % 2:
                    continue
                wrong = random.choice([n for n in (c - 2, c - 1, c + 1, c + 2) if n >= 0])
                curt = f"{c}." if language.stop else f"{c}。"
                right, slip = (sentence.format(a=a, b=b, c=n) for n in (c, wrong))
                yield ask.format(a=a, b=b), (right, curt, slip)


def _howtos(language: Language, random: Random) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for ask, first, second in language.howtos:
        wrong = random.choice([howto for howto in language.howtos if howto[0] != ask])
        yield ask, (first + language.stop + second, first, wrong[1] + language.stop + wrong[2])


def _frames(language: Language, question: str) -> Iterator[str]:
    for frame in language.plain_frames:
        yield _capital(frame.format(q=question))
    for number, name in enumerate(language.names):
        frame = language.name_frames[number % len(language.name_frames)]
        yield frame.format(n=name, q=_capital(question) if frame.startswith("I am") else question)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=1)
def _sentences() -> tuple[str, ...]:
    """Every true sentence of the world, in a fixed order."""
    random = Random("assistant sentences")
    sentences: list[str] = []
    for language in LANGUAGES:
        for group in (_facts, _sums, _howtos):
            sentences += [answers[0] for _, answers in group(language, random)]
        sentences += [language.refusal, language.unknown]
    return tuple(sentences)
