"""Critique and revision by the principles of a constitution (Bai et al. 2022, §3.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rlhf.data.preparation.synthetic.responses import request
from rlhf.data.preparation.synthetic.steps import Asked, Bound, Made, Messages, Reply, Work, draw, marked
from rlhf.data.records import Comparison, Demonstration, Prompt
from rlhf.errors import DataError
from rlhf.storage.prompt_files import filled

CRITIQUE, CRITIQUE_PLACES = "critique.txt", ("principle", "fence", "prompt", "answer")
REVISE, REVISE_PLACES = "revise.txt", ("principle", "fence", "prompt", "answer", "critique")
CONSTITUTION = "constitution.md"
ANSWERS, CRITIQUES, REVISIONS = "answers", "critiques", "revisions"
_LISTED = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+(\S.*)")


def principles_in(text: str) -> list[str]:
    """The principles of a constitution: the items of its lists or, where it has none, its lines.

    Headings and comments of Markdown are none. An item goes up to the next one, or to an empty line.
    """
    lines = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).split("\n")
    lines = ["" if line.lstrip().startswith("#") else line for line in lines]
    if not any(map(_LISTED.fullmatch, lines)):
        return [line.strip() for line in lines if line.strip()]
    found: list[str] = []
    within = False
    for line in lines:
        if (item := _LISTED.fullmatch(line)) is not None:
            found.append(item[1].strip())
            within = True
        elif not line.strip():
            within = False
        elif within:
            found[-1] += f" {line.strip()}"
    return found


def conversation(prompt: Prompt) -> str:
    """A single question as it is, several turns with their roles."""
    return prompt.text if len(prompt.turns) == 1 else "\n\n".join(f"{role}: {text}" for role, text in prompt.turns)


@dataclass
class Draft:
    """An answer on its way.

    Attributes:
        first: the first answer. answer: the newest one; `None`: a reply is missing, and the record is lost.
        principles: numbers of those that it was revised by, from 1.
    """

    prompt: Prompt
    first: str | None
    answer: str | None
    order: list[int]
    critique: str | None = None
    principles: tuple[int, ...] = ()


@dataclass(frozen=True)
class CritiqueRevise:
    """The answer to each prompt, criticised and revised some times in a row.

    The principles of a prompt are drawn by (seed, place of the prompt), none twice before all were used.

    Attributes:
        answers: first ones, by prompt; `None`: the model is asked.
        texts: of critique.txt and revise.txt, by name. constitution: its name and its text.
        comparisons: make comparisons, of the last revision with the first answer, and no demonstrations.
    """

    questions: list[Prompt]
    answers: list[str] | None
    texts: Mapping[str, str]
    constitution: tuple[str, str]
    model: str
    revisions: int = 1
    comparisons: bool = False
    system: str | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.principles:
            raise DataError(f"synthetic.constitution: {self.constitution[0]} holds no principle")

    @cached_property
    def principles(self) -> list[str]:
        """Of the constitution."""
        return principles_in(self.constitution[1])

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts of its prompts."""
        asked = {"system": self.system} if self.system and self.answers is None else {}
        return {**self.texts, **dict([self.constitution]), **asked}

    @property
    def bounds(self) -> list[Bound]:
        """Each request with the longest principle; what it quotes of replies is left open."""
        longest = max(self.principles, key=lambda one: len(one.encode()))
        found = []
        if self.answers is None:
            found.append(Bound(ANSWERS, [request(prompt, self.system) for prompt in self.questions]))
        for number in range(self.revisions):
            known = self.answers if number == 0 else None
            answers = known if known is not None else [""] * len(self.questions)
            pairs = list(zip(self.questions, answers, strict=True))
            quoted = int(known is None)
            criticised = [self._ask(CRITIQUE, prompt, longest, answer=answer) for prompt, answer in pairs]
            revised = [self._ask(REVISE, prompt, longest, answer=answer, critique="") for prompt, answer in pairs]
            found += [Bound(CRITIQUES, criticised, quoted), Bound(REVISIONS, revised, quoted + 1)]
        return found

    def run(self) -> Work:
        """First answers, then critiques and revisions in turn."""
        made = Made()
        drafts = [self._draft(place) for place in range(len(self.questions))]
        if self.answers is None:
            replies = yield Asked(ANSWERS, [request(draft.prompt, self.system) for draft in drafts])
            for draft, reply in zip(drafts, replies, strict=True):
                draft.first = draft.answer = made.answer(ANSWERS, reply)
        for number in range(self.revisions):
            drafts = [draft for draft in drafts if draft.answer is not None]
            replies = yield Asked(CRITIQUES, [self._critique(draft, number) for draft in drafts])
            for draft, reply in zip(drafts, replies, strict=True):
                # A review that ends early can still be followed.
                draft.critique = made.usable(CRITIQUES, reply, whole=False)
            drafts = [draft for draft in drafts if draft.critique is not None]
            replies = yield Asked(REVISIONS, [self._revision(draft, number) for draft in drafts])
            for draft, reply in zip(drafts, replies, strict=True):
                self._revise(draft, number, reply, made)
        for draft in drafts:
            self._finish(draft, made)
        return made

    def _draft(self, place: int) -> Draft:
        first = self.answers[place] if self.answers is not None else None
        order = draw(self.seed, place).permutation(len(self.principles)).tolist()
        return Draft(self.questions[place], first, first, order)

    def _critique(self, draft: Draft, number: int) -> Messages:
        return self._ask(CRITIQUE, draft.prompt, self._principle(draft, number), answer=draft.answer or "")

    def _revision(self, draft: Draft, number: int) -> Messages:
        principle = self._principle(draft, number)
        return self._ask(REVISE, draft.prompt, principle, answer=draft.answer or "", critique=draft.critique or "")

    def _principle(self, draft: Draft, number: int) -> str:
        return self.principles[draft.order[number % len(draft.order)]]

    def _ask(self, name: str, prompt: Prompt, principle: str, **parts: str) -> Messages:
        said = filled(self.texts[name], principle=principle, prompt=conversation(prompt), **parts)
        return [{"role": "user", "content": said}]

    def _revise(self, draft: Draft, number: int, reply: Reply, made: Made) -> None:
        before, draft.answer = draft.answer, made.answer(REVISIONS, reply)
        draft.principles = (*draft.principles, draft.order[number % len(draft.order)] + 1)
        if draft.answer is not None and before is not None and draft.answer == before.strip():
            made.count(REVISIONS, "unchanged")

    def _finish(self, draft: Draft, made: Made) -> None:
        if draft.answer is None or draft.first is None:
            return
        if self.comparisons and draft.answer == draft.first.strip():
            made.count("records", "equal_to_first_answer")
            return
        made.count("records", "comparisons" if self.comparisons else "demonstrations")
        facts = {
            "method": "critique_revise",
            "model": self.model,
            "principles": list(draft.principles),
            "first_answer": "endpoint" if self.answers is None else "file",
            "seeds": [draft.prompt.place],
        }
        prompt = marked(draft.prompt, self.prompts, **facts)
        if self.comparisons:
            made.records.append(Comparison(prompt, draft.answer, draft.first))
        else:
            made.records.append(Demonstration(prompt, draft.answer))
