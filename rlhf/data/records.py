"""The few typed records that every data format is read into and every stage takes its rows from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Role = Literal["system", "user", "assistant"]
Kind = Literal["documents", "demonstrations", "comparisons", "prompts"]

Tags: TypeAlias = tuple[tuple[str, str], ...]
"""(name, value) pairs; names are those of `TAGS`."""
TAGS = ("category", "subset", "source")

ROLES: tuple[str, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prompt:
    """A conversation that waits for the assistant: `turns` of (role, text), the last one the user's.

    A system turn may only come first. Texts carry no surrounding white space.

    Raises:
        ValueError: no turns, an unknown role, a system turn that is not first, an empty turn, or a last turn that
            is not the user's. The message says which.
    """

    turns: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError("a prompt needs at least one turn")
        for number, (role, text) in enumerate(self.turns):
            if role not in ROLES:
                raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
            if role == "system" and number > 0:
                raise ValueError("a system turn can only come first")
            if not text:
                raise ValueError(f"turn {number + 1} ({role}) is empty")
        if self.turns[-1][0] != "user":
            raise ValueError(f"the last turn of a prompt is the user's, found {self.turns[-1][0]!r}")

    @classmethod
    def of(cls, text: str) -> Prompt:
        """A single question by the user."""
        return cls((("user", text.strip()),))

    @property
    def text(self) -> str:
        """The last user turn."""
        return self.turns[-1][1]

    @property
    def key(self) -> str:
        """Stable text for hashing: equal for equal conversations, and for no others."""
        return json.dumps(self.turns, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the answer to imitate."""

    prompt: Prompt
    response: str


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt, of which a person preferred the first.

    Attributes:
        tags: what a file says of it beside its texts, such as (category, maths): evaluations report by them.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    tags: Tags = ()


@dataclass(frozen=True)
class Ranking:
    """K answers to one prompt with their ranks: 1 is best, equal ranks are ties; `tags` as of a comparison."""

    prompt: Prompt
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    tags: Tags = ()

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Every (better, worse) pair of response indices: up to K(K-1)/2 (Ouyang et al. 2022, §3.5); ties make none."""
        ranks = self.ranks
        return tuple((i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j])

    @property
    def best(self) -> str:
        """The first of the responses with the lowest rank."""
        return self.responses[self.ranks.index(min(self.ranks))]


@dataclass(frozen=True)
class Document:
    """Plain text to pretrain on."""

    text: str


Record: TypeAlias = Prompt | Demonstration | Comparison | Ranking | Document


def prompt_of(record: Record) -> Prompt | None:
    """The prompt a record answers; a document has none."""
    if isinstance(record, Prompt):
        return record
    return None if isinstance(record, Document) else record.prompt


def key_of(record: Record) -> str:
    """What decides the split a record falls in: its prompt, or a document's text."""
    prompt = prompt_of(record)
    if prompt is not None:
        return prompt.key
    assert isinstance(record, Document)
    return record.text


def as_prompts(records: Iterable[Record]) -> list[Prompt]:
    """The prompts of records in order, each once."""
    return list(dict.fromkeys(prompt for prompt in map(prompt_of, records) if prompt is not None))


def as_demonstration(record: Demonstration | Comparison | Ranking) -> Demonstration:
    """The answer worth imitating: the response itself, the chosen one, or the best ranked."""
    if isinstance(record, Demonstration):
        return record
    return Demonstration(record.prompt, record.chosen if isinstance(record, Comparison) else record.best)


def responses_of(record: Demonstration | Comparison | Ranking) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """A record's responses and its (better, worse) pairs of indices into them."""
    if isinstance(record, Demonstration):
        return (record.response,), ()
    if isinstance(record, Comparison):
        return (record.chosen, record.rejected), ((0, 1),)
    return record.responses, record.pairs()
