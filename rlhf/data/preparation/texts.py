"""What records say: their texts one by one, the same record with other texts, and what makes two records equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

from rlhf.data.records import Comparison, Demonstration, Document, Labelled, Prompt, Ranking, Record, StepLabelled


@dataclass(frozen=True)
class Texts:
    """The texts of a record.

    Attributes:
        turns: of the prompt; a document's text is its only one.
        answers: in the record's order.
        imitated: which of them a model would learn to write; `None` where there is none.
        verdict: what is said of the answers beside their texts; records that differ in it never count as duplicates.
    """

    turns: tuple[str, ...]
    answers: tuple[str, ...] = ()
    imitated: int | None = None
    verdict: str = ""

    @property
    def prompt(self) -> str:
        """All turns in one."""
        return "\n".join(self.turns)

    @property
    def all(self) -> tuple[str, ...]:
        """Every text."""
        return (*self.turns, *self.answers)


def texts_of(record: Record) -> Texts:
    """The texts of a record of any kind."""
    if isinstance(record, Document):
        return Texts((record.text,), verdict="document")
    prompt = record if isinstance(record, Prompt) else record.prompt
    turns = tuple(text for _, text in prompt.turns)
    if isinstance(record, Prompt):
        return Texts(turns, verdict="prompt")
    if isinstance(record, Demonstration):
        return Texts(turns, (record.response,), 0, f"demonstration {record.weights} {record.extras}")
    if isinstance(record, Labelled):
        return Texts(turns, (record.response,), 0 if record.desirable else None, f"label {record.desirable}")
    if isinstance(record, StepLabelled):
        return Texts(turns, (record.text(),), None, f"steps {record.labels}")
    if isinstance(record, Comparison):
        return Texts(turns, (record.chosen, record.rejected), 0, "comparison")
    return Texts(turns, record.responses, record.responses.index(record.best), f"ranking {record.ranks}")


def with_texts(record: Record, change: Callable[[str], str]) -> Record:
    """The same record with every text changed.

    Raises:
        ValueError: a turn, an answer or a document becomes empty, or two compared answers equal.
    """

    def answer(text: str, extras: str = "") -> str:
        found = change(text)
        if not found.strip() and text.strip() and not extras:
            raise ValueError("an answer became empty")
        return found

    if isinstance(record, Document):
        return replace(record, text=answer(record.text))
    prompt = record if isinstance(record, Prompt) else record.prompt
    prompt = replace(prompt, turns=tuple((role, change(text)) for role, text in prompt.turns))
    if isinstance(record, Prompt):
        return prompt
    if isinstance(record, Comparison):
        chosen, rejected = answer(record.chosen), answer(record.rejected)
        if chosen == rejected:
            raise ValueError("two answers became equal")
        return replace(record, prompt=prompt, chosen=chosen, rejected=rejected)
    if isinstance(record, Ranking):
        responses = tuple(map(answer, record.responses))
        ranks = dict(zip(responses, record.ranks, strict=True))
        if any(ranks[text] != rank for text, rank in zip(responses, record.ranks, strict=True)):
            raise ValueError("two answers became equal")
        return replace(record, prompt=prompt, responses=responses)
    if isinstance(record, StepLabelled):
        return replace(record, prompt=prompt, steps=tuple(map(answer, record.steps)))
    extras = record.extras if isinstance(record, Demonstration) else ""
    return replace(record, prompt=prompt, response=answer(record.response, extras))


def digest_of(key: str, texts: Texts) -> bytes:
    """16 bytes that are equal for records that say the same: texts, roles, tools and verdict; not where it is from.

    Args:
        key: of the record, see `rlhf.data.records.key_of`.
    """
    text = json.dumps([texts.verdict, key, texts.answers], ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
