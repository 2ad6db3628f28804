"""Who says how good an answer is: the embedded task's gold judge, or reward models, behind one interface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from rlhf.data.assistant import Verdict, judge
from rlhf.data.batch import collate, microbatches
from rlhf.data.cuts import PromptTooLong
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.data.templates.template import Template
from rlhf.models.language import ScoreModel, sliding_window
from rlhf.objectives.ensembles import combined
from rlhf.progress import ProgressBar

ROW_TOKENS = 1024
"""Answers to one prompt share a row up to here: the mask of such a tree grows with the square of its tokens."""


Tokenised = tuple[str, tuple[int, ...]]
"""A text and its ids."""


@dataclass(frozen=True)
class Rubric:
    """The marks of an endpoint judge for one answer, 0 to 10 each, with a reason; every side counts for every
    prompt."""

    helpfulness: float
    harmlessness: float
    honesty: float
    reason: str = ""

    @property
    def score(self) -> float:
        """An answer is as good as its worst side, as to the gold judge."""
        return min(self.helpfulness, self.harmlessness, self.honesty)


@dataclass(frozen=True)
class Mark:
    """How good one answer is.

    Attributes:
        score: more is better; the judge says in which unit.
        verdict: the sides that the gold judge, or one that reads, looks at.
        members: what each member of an ensemble says, in their order.
    """

    score: float
    verdict: Verdict | Rubric | None = None
    members: tuple[float, ...] = ()


class Judge(Protocol):
    """Anything that marks answers; `unit` is what a score is counted in."""

    name: str
    unit: str

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Mark | None]:
        """A mark for each answer to the prompt at the same place; `None` where the judge can't tell."""
        ...


class GoldJudge:
    """The embedded task's own judge; an answer scores as its worst side does."""

    name = "gold"
    unit = "points of 10"

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Mark | None]:
        verdicts = (judge(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True))
        return [None if verdict is None else Mark(verdict.score, verdict) for verdict in verdicts]


class RewardJudge:
    """A reward model, used as in its training: the prompt, the answer's text, then end-of-text.

    It reads text, not the tokens that were drawn, so that models of any tokenizer can be compared. An answer that was
    cut off is thus marked as if it had ended there. Each answer to a prompt is scored once, however often it is asked
    for: equal answers tie.

    Args:
        model: frozen, on its device.
        template: of the reward model's own tokenizer.
        max_length: tokens of a prompt and one answer; longer prompts lose their front.
        tokens_per_microbatch: tokens that are computed at once.

    Attributes:
        not_finite: answers that the model gave NaN or infinity, which is no score: they count as not scored.
    """

    name = "reward"
    unit = "logits of the reward model"

    def __init__(
        self, model: ScoreModel, template: Template, max_length: int, tokens_per_microbatch: int = 4096
    ) -> None:
        self.model, self.template = model, template
        self.max_length, self.tokens_per_microbatch = max_length, tokens_per_microbatch
        self._known: dict[tuple[Prompt, str], float | None] = {}
        self.not_finite: set[tuple[Prompt, str]] = set()

    @property
    def asked(self) -> int:
        """Different answers that were scored, or should have been."""
        return len(self._known)

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Mark | None]:
        return [None if score is None else Mark(score) for score in self.scores(prompts, answers)]

    @torch.no_grad()
    def scores(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float | None]:
        """The reward model's score of each answer; `None` for one that fits behind no piece of its prompt, and for one
        whose score is not finite."""
        asked = list(zip(prompts, answers, strict=True))
        new: dict[Prompt, list[str]] = {}
        for prompt, answer in dict.fromkeys(asked):
            if (prompt, answer) not in self._known:
                self._known[prompt, answer] = None
                new.setdefault(prompt, []).append(answer)
        rows: list[Row] = []
        names: list[list[tuple[Prompt, str]]] = []
        for prompt, texts in new.items():
            for ids, group in self._groups(prompt, texts):
                rows.append(Row(ids, tuple(tokens for _, tokens in group), index=len(rows)))
                names.append([(prompt, text) for text, _ in group])
        device = next(self.model.parameters()).device
        with ProgressBar("scores of the reward model", len(rows)) as progress:
            for micro in microbatches(rows, self.tokens_per_microbatch):
                scores = self.model(collate(micro).to(device)).tolist()
                for name, score in zip((name for row in micro for name in names[row.index]), scores, strict=True):
                    if math.isfinite(score):
                        self._known[name] = score
                    else:
                        self.not_finite.add(name)
                progress(progress.done + len(micro))
        return [self._known[pair] for pair in asked]

    def _groups(self, prompt: Prompt, texts: Sequence[str]) -> Iterator[tuple[tuple[int, ...], list[Tokenised]]]:
        """Answers that fit behind the whole prompt share it; one that doesn't stands alone behind what is left."""
        ids = self.template.prompt(prompt).ids
        # A tree's mask would take the place of the window.
        alone = sliding_window(self.model.hf.base_model) is not None
        shared: list[Tokenised] = []
        for text in texts:
            answer = text, tuple(self.template.response(text))
            room = self.max_length - len(answer[1])
            if alone or len(ids) > room:
                try:
                    yield self.template.prompt(prompt, room).ids, [answer]
                except PromptTooLong:
                    continue
            else:
                if shared and sum(len(tokens) for _, tokens in [*shared, answer]) > ROW_TOKENS:
                    yield ids, shared
                    shared = []
                shared.append(answer)
        if shared:
            yield ids, shared


class EnsembleJudge:
    """Several reward models as one.

    Each was trained with the Bradley–Terry loss and has its scores shifted alike, so all speak of log-odds, and their
    scores are combined as they are.

    Args:
        members: at least two.
        combine, coef: how their scores become one, as in training: see `rlhf.objectives.ensembles.combined`.
    """

    name = "ensemble"
    unit = "logits of the reward models"

    def __init__(self, members: Mapping[str, RewardJudge], combine: str = "mean", coef: float = 0.0) -> None:
        self.members, self.combine, self.coef = dict(members), combine, coef

    @property
    def not_finite(self) -> set[tuple[Prompt, str]]:
        """Answers to which at least one member gave NaN or infinity."""
        return set().union(*(member.not_finite for member in self.members.values()))

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Mark | None]:
        """A mark for each answer; `None` where one of the members can't read it, or gives it no finite score."""
        found = [member.scores(prompts, answers) for member in self.members.values()]
        marks: list[Mark | None] = []
        for scores in zip(*found, strict=True):
            known = tuple(score for score in scores if score is not None)
            marks.append(Mark(self._together(known), members=known) if len(known) == len(scores) else None)
        return marks

    def _together(self, scores: Sequence[float]) -> float:
        return combined(torch.tensor(scores, dtype=torch.float64)[:, None], self.combine, self.coef).item()

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float | None]:
        """The combined score of each answer."""
        return [None if mark is None else mark.score for mark in self(prompts, answers)]
