"""What a method asks a model for, step by step, and what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from rlhf.data.preparation.removal.phrases import is_refusal
from rlhf.data.records import Prompt, Record

Messages: TypeAlias = list[dict[str, str]]
Counts: TypeAlias = dict[str, dict[str, int]]
"""By stage and by what happened, in the order of the card."""
DIGITS = 16
"""Hexadecimal digits of a prompt's sha256 that a record has; the card has all 64."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote to one request.

    Attributes:
        text: `None`: nothing came.
        cut: the text ends where the limit of tokens ended it. refused: the server takes no such request.
    """

    text: str | None
    cut: bool = False
    refused: bool = False


@dataclass(frozen=True)
class Asked:
    """Requests of one stage that don't depend on each other."""

    stage: str
    messages: list[Messages]


@dataclass(frozen=True)
class Bound:
    """The most that a stage can ask for, known before the first reply.

    Attributes:
        requests: one for each call, without the texts of earlier replies that it will hold.
        replies: how many such texts each of them will hold at most; each has `max_tokens` tokens at most.
    """

    stage: str
    requests: list[Messages]
    replies: int = 0


@dataclass
class Made:
    """What a method made: records that say who wrote them, and what was counted on the way."""

    records: list[Record] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)

    def count(self, stage: str, what: str, n: int = 1) -> None:
        """Add to a count."""
        counts = self.counts.setdefault(stage, {})
        counts[what] = counts.get(what, 0) + n

    def usable(self, stage: str, reply: Reply, whole: bool = True) -> str | None:
        """The text of a reply, stripped; `None` where there is none to use, and the reason is counted.

        Args:
            whole: a text that was cut can't be used.
        """
        self.count(stage, "requests")
        text = (reply.text or "").strip()
        if not text:
            self.count(stage, "refused_by_server" if reply.refused else "no_reply")
            return None
        if reply.cut and whole:
            self.count(stage, "cut_off")
            return None
        return text

    def answer(self, stage: str, reply: Reply) -> str | None:
        """As `usable`; answers that decline are counted, and stay: `filter.refusals` is what removes them."""
        text = self.usable(stage, reply)
        if text is not None and is_refusal(text):
            self.count(stage, "refusals")
        return text


Work: TypeAlias = Generator[Asked, list[Reply], Made]


class Method(Protocol):
    """A way of writing records."""

    @property
    def bounds(self) -> list[Bound]:
        """The most that it can ask for."""
        ...

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts of its prompts, by their names."""
        ...

    def run(self) -> Work:
        """Everything that it asks for, and what it makes of the replies."""
        ...


def follow(work: Work, replies: Callable[[Asked], list[Reply] | None]) -> Made | None:
    """Run a method to its end.

    Args:
        replies: to the requests, in their order; `None` ends it before.

    Returns:
        What it made; `None` where it was ended before.
    """
    try:
        asked = next(work)
        while True:
            found = replies(asked) if asked.messages else []
            if found is None:
                work.close()
                return None
            asked = work.send(found)
    except StopIteration as end:
        made: Made = end.value
        return made


def draw(seed: int, *step: int) -> np.random.Generator:
    """Random numbers that depend on these numbers alone, whatever was drawn before."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *step])))


def sha256(text: str) -> str:
    """Hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def marked(prompt: Prompt, prompts: Mapping[str, str], **facts: Any) -> Prompt:
    """The prompt of a synthetic record, with who wrote it; what was said of the prompt before stands under `prompt`.

    Args:
        prompts: texts by which the model was asked, by their names.
    """
    before = {"prompt": json.loads(prompt.synthetic)} if prompt.synthetic else {}
    mark = {**facts, "prompts": {name: sha256(text)[:DIGITS] for name, text in prompts.items()}, **before}
    return replace(prompt, synthetic=json.dumps(mark, ensure_ascii=False, sort_keys=True))
