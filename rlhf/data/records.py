"""The few typed records that every data format is read into and every stage takes its rows from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["documents", "demonstrations", "comparisons", "prompts", "labels", "steps"]

Tags: TypeAlias = tuple[tuple[str, str], ...]
"""(name, value) pairs; names are those of `TAGS`."""
TAGS = ("category", "subset", "source")

ROLES: tuple[str, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Prompt:
    """A conversation that waits for the assistant.

    Attributes:
        turns: (role, text) pairs, the last one the user's or a tool's result. A system turn may only come first, and a
            tool's result only after a turn of the assistant or another result.
        tools: the tools that the assistant may call, a JSON list as chat templates take it; empty: none.
        extras: what a turn says beside its text, such as its `tool_calls`: (index into `turns`, JSON object).
        place: where it was read, `file:line`; no part of what makes two prompts equal.
        fields: what functions that score its answers are given beside it, such as a reference answer, as it stands in
            the data (`data.fields`); no part of what makes two prompts equal either.
        synthetic: who wrote the record, where a model did, as a JSON object (`prepare.py` with `synthetic.method`);
            likewise no part of what makes two prompts equal.

    Raises:
        ValueError: no turns, an unknown role, a system turn that is not first, a result of a tool that was not called,
            an empty turn that calls no tool, or a last turn that is the assistant's. The message says which.
    """

    turns: tuple[tuple[str, str], ...]
    tools: str = ""
    extras: tuple[tuple[int, str], ...] = ()
    place: str = field(default="", compare=False, repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    synthetic: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError("a prompt needs at least one turn")
        spoken = {index for index, _ in self.extras}
        before = ""
        for index, (role, text) in enumerate(self.turns):
            if role not in ROLES:
                raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
            if role == "system" and index > 0:
                raise ValueError("a system turn can only come first")
            if role == "tool" and before not in ("assistant", "tool"):
                raise ValueError(f"turn {index + 1} has the role 'tool', but no assistant's turn is in front of it")
            # A tool may have nothing to say, and the assistant may call one without a word.
            if not text.strip() and role != "tool" and index not in spoken:
                raise ValueError(f"turn {index + 1} ({role}) is empty")
            before = role
        if before not in ("user", "tool"):
            raise ValueError(f"the last turn of a prompt is the user's, found {before!r}")

    @classmethod
    def of(cls, text: str) -> Prompt:
        """A single question by the user."""
        return cls((("user", text),))

    @property
    def text(self) -> str:
        """The last turn."""
        return self.turns[-1][1]

    @property
    def key(self) -> str:
        """Stable text for hashing: equal for equal conversations, and for no others."""
        content: Any = (self.turns, self.tools, self.extras) if self.tools or self.extras else self.turns
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def messages(self) -> list[dict[str, Any]]:
        """The turns as chat templates take them: role, content, and what else a turn says."""
        extras = dict(self.extras)
        return [
            {"role": role, "content": text, **(json.loads(extras[index]) if index in extras else {})}
            for index, (role, text) in enumerate(self.turns)
        ]


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the answer to imitate.

    Attributes:
        weights: 1 or 0 for each of the assistant's turns, those in the prompt first and the response last: whether it
            is learnt. Empty: each of them is.
        extras: what the response says beside its text, such as its `tool_calls`: a JSON object, or empty.
    """

    prompt: Prompt
    response: str
    weights: tuple[int, ...] = ()
    extras: str = ""

    @property
    def learnt(self) -> tuple[int, ...]:
        """`weights`, one for each of the assistant's turns, also where none are given."""
        return self.weights or (1,) * (1 + sum(role == "assistant" for role, _ in self.prompt.turns))

    def messages(self) -> list[dict[str, Any]]:
        """The whole conversation as chat templates take it, the response last."""
        extras = json.loads(self.extras) if self.extras else {}
        return [*self.prompt.messages(), {"role": "assistant", "content": self.response, **extras}]


@dataclass(frozen=True)
class Labelled:
    """An answer and whether it is desirable, as KTO learns from (Ethayarajh et al. 2024); `tags` as of a comparison."""

    prompt: Prompt
    response: str
    desirable: bool
    tags: Tags = ()


@dataclass(frozen=True)
class StepLabelled:
    """An answer in steps and what was said of each, as process rewards are learnt from (Lightman et al. 2023).

    Attributes:
        steps: texts, none of them blank.
        labels: of each step the probability that it is right, 0 to 1; `None`: nobody judged it.
        tags: as of a comparison.
    """

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    tags: Tags = ()

    def text(self, separator: str = "\n") -> str:
        """The answer as one text; white space around steps gives way to the separator."""
        return separator.join(step.strip() for step in self.steps)


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt, of which a person preferred the first.

    Attributes:
        tags: what a file says of it beside its texts, such as (category, maths): evaluations report by them.
        margin: by how much the first is better, ≥ 0, in the unit of the file; `None`: it doesn't say.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    tags: Tags = ()
    margin: float | None = None


@dataclass(frozen=True)
class Ranking:
    """K answers to one prompt with their ranks: 1 is best, equal ranks are ties; `tags` as of a comparison.

    Attributes:
        scores: of each answer, in the unit of the file and in the order of the ranks; empty: it doesn't say.
    """

    prompt: Prompt
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    tags: Tags = ()
    scores: tuple[float, ...] = ()

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
    """Plain text to pretrain on; `place` and `synthetic` as of a prompt."""

    text: str
    place: str = field(default="", compare=False, repr=False)
    synthetic: str = field(default="", compare=False, repr=False)


Record: TypeAlias = Prompt | Demonstration | Labelled | StepLabelled | Comparison | Ranking | Document


def asked(prompt: Prompt) -> dict[str, Any]:
    """The fields of a JSON record from which `jsonl` or `messages` reads the same prompt again."""
    single = len(prompt.turns) == 1 and prompt.turns[0][0] == "user"
    shown = prompt.text if single else prompt.messages()
    return {"prompt": shown, **({"tools": json.loads(prompt.tools)} if prompt.tools else {})}


def prompt_of(record: Record) -> Prompt | None:
    """The prompt a record answers; a document has none."""
    if isinstance(record, Prompt):
        return record
    return None if isinstance(record, Document) else record.prompt


def place_of(record: Record) -> str:
    """`file:line` that a record was read from; empty where it came from no file."""
    return record.place if isinstance(record, Prompt | Document) else record.prompt.place


def key_of(record: Record) -> str:
    """What decides the split a record falls in: its prompt, or a document's text.

    White space around texts doesn't count: the same question with a line's end after it is no held-out one.
    """
    prompt = prompt_of(record)
    if prompt is not None:
        return replace(prompt, turns=tuple((role, text.strip()) for role, text in prompt.turns)).key
    assert isinstance(record, Document)
    return record.text.strip()


def as_prompts(records: Iterable[Record]) -> list[Prompt]:
    """The prompts of records in order, each once."""
    return list(dict.fromkeys(prompt for prompt in map(prompt_of, records) if prompt is not None))


def as_demonstration(record: Demonstration | Labelled | Comparison | Ranking) -> Demonstration:
    """The answer worth imitating: the response itself, the chosen one, or the best ranked.

    Where an answer was judged, only that one was: earlier turns of the assistant are context and get the weight 0.

    Raises:
        ValueError: the record's only answer is labelled undesirable.
    """
    if isinstance(record, Demonstration):
        return record
    if isinstance(record, Labelled):
        if not record.desirable:
            raise ValueError("an undesirable answer is nothing to imitate")
        response = record.response
    else:
        response = record.chosen if isinstance(record, Comparison) else record.best
    earlier = sum(role == "assistant" for role, _ in record.prompt.turns)
    return Demonstration(record.prompt, response, (*(0,) * earlier, 1) if earlier else ())


def responses_of(
    record: Demonstration | Labelled | StepLabelled | Comparison | Ranking,
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """A record's responses and its (better, worse) pairs of indices into them."""
    if isinstance(record, Demonstration | Labelled):
        return (record.response,), ()
    if isinstance(record, StepLabelled):
        return (record.text(),), ()
    if isinstance(record, Comparison):
        return (record.chosen, record.rejected), ((0, 1),)
    return record.responses, record.pairs()


def margins_of(record: Record) -> tuple[float, ...]:
    """By how much the better answer of each pair is better, as the pairs of `responses_of`; empty if unknown."""
    if isinstance(record, Comparison) and record.margin is not None:
        return (record.margin,)
    if isinstance(record, Ranking) and record.scores:
        return tuple(record.scores[better] - record.scores[worse] for better, worse in record.pairs())
    return ()
