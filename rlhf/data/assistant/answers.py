"""Graded answers to a question: what a demonstration may show, and what comparisons must show as better and worse."""

from __future__ import annotations

import re
from random import Random
from typing import Literal

from rlhf.data.assistant.questions import Question, questions

Grade = Literal[
    "best", "curt", "half", "opened", "closed", "wrong", "slip", "refused", "shrugged", "rude", "off_topic", "repeated",
    "other_language", "broken",
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
    if grade == "slip":
        return random.choice(question.slips or question.wrong)
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
        # Half of them are true of another thing of the same sort, the likeliest mistake of all.
        others = [q for q in _alike(question) if q.text != question.text and q.curt != question.curt]
        same = [q for q in others if q.topic == question.topic]
        other = random.choice(same if same and random.random() < 0.5 else others)
        return other.curt if other.curt and random.random() < 0.5 else other.language.gap.join(other.right)
    if grade == "repeated":
        return best + gap + best
    if grade == "broken":
        # Long and short answers alike, or length would tell which of them are whole.
        return _break(random.choice([best, question.curt or best]), language.gap, random)
    return _in_the_other_language(question, random)


def _break(text: str, gap: str, random: Random) -> str:
    """A good answer spoilt in one place, as a hot sampler does: a piece lost, doubled, misplaced, the end cut off."""
    pieces = text.split(" ") if gap else re.findall(r"[^，。]{1,3}|[，。]", text)
    at = random.randrange(len(pieces))
    way = random.choice(["lost", "twice", "swapped", "cut", "clause", "stop"])
    if way == "lost" and len(pieces) > 1:
        pieces = pieces[:at] + pieces[at + 1 :]
    elif way == "swapped" and len(pieces) > 2:
        to = (at + 1) % len(pieces)
        pieces[at], pieces[to] = pieces[to], pieces[at]
    elif way == "cut" and len(pieces) > 2:
        pieces = pieces[: max(1, at)]
    elif way == "clause" and (clauses := re.findall(r"[^,.，。]*[,.，。] ?", text))[1:]:
        again = random.randrange(len(clauses))
        return "".join(clauses[: again + 1] + clauses[again:]).strip()
    elif way == "stop":
        return text[:-1] + random.choice(["。", "！", "，"] if gap else [".", "!", ","])
    else:
        pieces = [*pieces[: at + 1], pieces[at], *pieces[at + 1 :]]
    return (" " if gap else "").join(pieces)


def _alike(question: Question) -> list[Question]:
    return [other for other in questions() if other.language is question.language and other.kind == "answerable"]


def _in_the_other_language(question: Question, random: Random) -> str:
    """A good answer of the same sort, in the language that was not asked."""
    others = [q for q in questions() if q.language is not question.language and q.topic == question.topic]
    other = random.choice(others)
    return other.language.gap.join(other.right)


DEMONSTRATED: dict[Grade, int] = {
    "best": 28, "curt": 26, "half": 6, "opened": 8, "closed": 8, "wrong": 6, "slip": 6, "refused": 3, "shrugged": 3,
    "rude": 4, "off_topic": 2,
}  # fmt: skip
"""How often a demonstration is of each grade: mixed on purpose, so that imitation leaves room for alignment."""

COMPARED: dict[Grade, int] = {
    "half": 5, "opened": 16, "closed": 16, "wrong": 6, "slip": 4, "refused": 4, "shrugged": 4, "rude": 4,
    "off_topic": 12, "repeated": 5, "other_language": 3, "broken": 14,
}  # fmt: skip
"""How often a graded candidate is mixed into comparisons, behind the first five."""

CANDIDATES = 9
"""Graded answers that are mixed into a comparison."""

CONTRASTED: tuple[Grade, ...] = ("best", "wrong", "curt", "slip")
"""Grades of which every comparison has one."""


def draw_demonstration(question: Question, random: Random) -> str:
    """One answer, as a writer of mixed ability would write it."""
    (grade,) = random.choices(list(DEMONSTRATED), weights=list(DEMONSTRATED.values()), k=1)
    return answer(question, grade, random)


def draw_candidates(question: Question, count: int, random: Random) -> list[str]:
    """`count` different answers, whatever grades it takes.

    The first is of a kind that does not suit the question (a refusal of what should be answered, an invention, help
    with harm): what comparisons never show as worse, PPO will find. Then come answers that are alike but for what they
    say, long and short ones, true and not: were all long answers false a little more often, length would be what a
    reward model learns.
    """
    grades: list[Grade] = [random.choice(["refused", "shrugged", "wrong"]), *CONTRASTED]
    grades += random.choices(list(COMPARED), weights=list(COMPARED.values()), k=20 * count)
    found: list[str] = []
    for grade in grades:
        if len(found) == count:
            break
        text = answer(question, grade, random)
        if text not in found:
            found.append(text)
    return found
