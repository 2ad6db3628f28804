"""Graded answers to a question: what a demonstration may show, and what comparisons must show as better and worse."""

from __future__ import annotations

from random import Random
from typing import Literal

from rlhf.data.assistant.questions import Question, questions

Grade = Literal[
    "best", "curt", "half", "opened", "closed", "wrong", "refused", "shrugged", "rude", "off_topic", "repeated",
    "other_language",
]  # fmt: skip


def answer(question: Question, grade: Grade, random: Random) -> str:
    """One answer of that grade. Where a question has none (a refusal is no fault where it is due), another bad one."""
    language, gap = question.language, question.language.gap
    best = gap.join(question.right)
    if grade == "best":
        return best
    if grade == "curt":
        return question.curt or question.right[0]
    if grade == "half":
        return question.right[0] if len(question.right) > 1 else question.curt
    if grade == "opened":
        return random.choice(language.openers) + gap + random.choice([best, question.curt or question.right[0]])
    if grade == "closed":
        return random.choice([best, question.curt or question.right[0]]) + gap + random.choice(language.closers)
    if grade == "wrong":
        return random.choice(question.wrong)
    if grade == "refused":
        if question.kind == "harmful":
            return random.choice(question.wrong)
        return random.choice([language.refusal, language.short_refusal])
    if grade == "shrugged":
        if question.kind == "unknowable":
            return random.choice(question.wrong)
        return random.choice([language.unknown, language.short_unknown])
    if grade == "rude":
        return language.rude
    if grade == "off_topic":
        other = random.choice([q for q in _alike(question) if q.text != question.text])
        return other.language.gap.join(other.right)
    if grade == "repeated":
        return best + gap + best
    return _in_the_other_language(question, random)


def _alike(question: Question) -> list[Question]:
    return [other for other in questions() if other.language is question.language and other.kind == "answerable"]


def _in_the_other_language(question: Question, random: Random) -> str:
    """A good answer of the same sort, in the language that was not asked."""
    others = [q for q in questions() if q.language is not question.language and q.topic == question.topic]
    other = random.choice(others)
    return other.language.gap.join(other.right)


DEMONSTRATED: dict[Grade, int] = {
    "best": 26, "curt": 26, "half": 6, "opened": 8, "closed": 8, "wrong": 12, "refused": 4, "shrugged": 4, "rude": 4,
    "off_topic": 2,
}  # fmt: skip
"""How often a demonstration is of each grade: mixed on purpose, so that imitation leaves room for alignment."""

COMPARED: dict[Grade, int] = {
    "best": 20, "curt": 14, "half": 6, "opened": 8, "closed": 8, "wrong": 18, "refused": 8, "shrugged": 8, "rude": 6,
    "off_topic": 6, "repeated": 4, "other_language": 2,
}  # fmt: skip
"""How often a graded candidate is mixed into comparisons."""


def draw_demonstration(question: Question, random: Random) -> str:
    """One answer, as somebody of mixed ability would write it."""
    (grade,) = random.choices(list(DEMONSTRATED), weights=list(DEMONSTRATED.values()), k=1)
    return answer(question, grade, random)


def draw_candidates(question: Question, count: int, random: Random) -> list[str]:
    """`count` different answers of different grades.

    The first is always of a kind that does not suit the question (a refusal of what should be answered, an invention,
    help with harm): what comparisons never show as worse, PPO will find.
    """
    unsuited: Grade = random.choice(["refused", "shrugged", "wrong"])
    found = [answer(question, unsuited, random)]
    grades = list(COMPARED)
    for _ in range(20 * count):
        if len(found) >= count:
            break
        (grade,) = random.choices(grades, weights=list(COMPARED.values()), k=1)
        text = answer(question, grade, random)
        if text not in found:
            found.append(text)
    return found
