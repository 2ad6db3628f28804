"""Generates the embedded task's records from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import get_args

from rlhf.data.assistant.annotator import noisy_ranks
from rlhf.data.assistant.answers import CANDIDATES, Grade, answer, draw_candidates, draw_demonstration
from rlhf.data.assistant.judge import judge
from rlhf.data.assistant.questions import Question, capital, phrasings, questions
from rlhf.data.assistant.world import LANGUAGES
from rlhf.data.records import Demonstration, Document, Kind, Prompt, Ranking, Record
from rlhf.errors import DataError

QUOTAS = {"fact": 860, "sum": 560, "howto": 228, "harm": 500, "secret": 400}
"""Prompts of each topic in each language: most of what can be answered, which is hardest to learn."""

ROLES: dict[Kind, float] = {"demonstrations": 0.34, "comparisons": 0.42, "prompts": 0.24}
"""Shares of the prompts that are not held out for the test."""

WRITTEN = {"fact": 44, "sum": 30, "howto": 10, "harm": 8, "secret": 8}
"""What documents are about, in percent: knowledge above all, since it has to be learnt by heart."""

DOCUMENTS = 12_000


def generate(kind: Kind, seed: int = 0) -> list[Record]:
    """All records of one kind, over every prompt, in an order that all kinds share.

    `belongs` decides which of them a stage may see. Comparisons are noisy rankings of graded answers, which serve as
    labels too. Documents state what is true, also as question and answer, and never show a dialogue.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"unknown kind {kind!r}")
    if kind == "labels":
        return generate("comparisons", seed)
    if kind == "steps":
        raise DataError("data=assistant: its answers are judged as a whole; pass data=worked_sums or a file with steps")
    random = Random(f"assistant {kind} {seed}")
    if kind == "documents":
        return [_document(random) for _ in range(DOCUMENTS)]
    asked = _asked(seed)
    if kind == "prompts":
        return [Prompt.of(text) for text, _ in asked]
    if kind == "demonstrations":
        return [Demonstration(Prompt.of(text), draw_demonstration(question, random)) for text, question in asked]
    return [rank(Prompt.of(text), draw_candidates(question, CANDIDATES, random), random) for text, question in asked]


def belongs(prompt: Prompt, kind: Kind, seed: int) -> bool:
    """Whether a prompt is for records of this kind: demonstrations, comparisons and prompts share none.

    Labels are those of comparisons.
    """
    kind = "comparisons" if kind == "labels" else kind
    digest = hashlib.sha256(f"role {seed}\n{prompt.key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for role, share in ROLES.items():
        if place < share:
            return role == kind
        place -= share
    return False


def rank(prompt: Prompt, responses: Sequence[str], random: Random) -> Ranking:
    """The responses, shuffled, with the ranks that the noisy annotator gives them."""
    shuffled = random.sample(list(responses), len(responses))
    scores = [verdict.score for text in shuffled if (verdict := judge(prompt, text)) is not None]
    return Ranking(prompt, tuple(shuffled), noisy_ranks(scores, random))


def corpus() -> list[str]:
    """The text on which the tiny vocabulary is trained: the same whatever `data.seed` is."""
    random = Random("assistant corpus")
    dialogues = [
        f"### Human: {text}\n### Assistant: {said}"
        for text, question in _asked(0)
        for said in [answer(question, grade, random) for grade in random.sample(get_args(Grade), 2)]
    ]
    return [*(_document(random).text for _ in range(3000)), *dialogues]


@lru_cache(maxsize=4)
def _asked(seed: int) -> tuple[tuple[str, Question], ...]:
    """Prompts with their questions, each once, in random order."""
    random = Random(f"assistant questions {seed}")
    found: list[tuple[str, Question]] = []
    for language in LANGUAGES:
        for topic, quota in QUOTAS.items():
            asked = [q for q in questions() if q.language is language and q.topic == topic]
            texts = [(text, question) for question in asked for text in phrasings(question)]
            found += random.sample(texts, min(quota, len(texts)))
    random.shuffle(found)
    return tuple(found)


def _document(random: Random) -> Document:
    """A few remarks: facts, alone or after a question, warnings, and what can't be known."""
    topics = random.choices(list(WRITTEN), weights=list(WRITTEN.values()), k=random.randint(2, 5))
    remarks = [_remark(random.choice(_about(topic)), random) for topic in topics]
    return Document(random.choice([" ", "\n"]).join(remarks))


@lru_cache(maxsize=8)
def _about(topic: str) -> tuple[Question, ...]:
    return tuple(question for question in questions() if question.topic == topic)


def _remark(question: Question, random: Random) -> str:
    language = question.language
    asked = random.choice([*_framed(question.text)]) if random.random() < 0.6 else ""
    if question.kind == "answerable":
        told = language.gap.join(question.right)
    elif question.kind == "harmful":
        harm = next(harm for harm in language.harms if harm in question.text)
        told = capital(random.choice(language.warnings).format(harm))
    else:
        name = next(name for name in language.names if name in question.text)
        told = random.choice(language.shrugs).format(n=name)
    return f"{asked}{language.gap}{told}" if asked else told


@lru_cache(maxsize=512)
def _framed(text: str) -> tuple[str, ...]:
    return tuple(phrasings(next(question for question in questions() if question.text == text)))
