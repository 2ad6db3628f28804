"""Who ranks several answers to one prompt: one interface for the noisy judge, a reward model, people and AI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import NOISE, noisy_ranks
from rlhf.data.records import Prompt

Scorer = Callable[[Sequence[Prompt], Sequence[str]], list[float | None]]
"""One number for each answer, given its prompt; `None` for one that can't be read."""


class Annotator(Protocol):
    """Anything that ranks answers."""

    def rank(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[tuple[int, ...] | None]:
        """For each prompt the ranks of its answers, 1 is best and equal ranks are ties; `None`: the answers were not
        ranked."""
        ...


class NoisyJudge:
    """The embedded task's judge with Bradley–Terry noise; without an opinion on prompts that are not of its world.

    The noise of a prompt depends on the prompt and `seed` alone, not on what was ranked before.
    """

    def __init__(self, seed: int, noise: float = NOISE) -> None:
        self.seed, self.noise = seed, noise

    def rank(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[tuple[int, ...] | None]:
        return [self._rank(prompt, texts) for prompt, texts in zip(prompts, answers, strict=True)]

    def _rank(self, prompt: Prompt, texts: Sequence[str]) -> tuple[int, ...] | None:
        scores = [verdict.score for text in texts if (verdict := judge(prompt, text)) is not None]
        if len(scores) < len(texts):
            return None
        return noisy_ranks(scores, Random(f"annotator {self.seed} {prompt.key}"), self.noise)


class ScoreAnnotator:
    """Ranks by a number, such as a reward model's score; equal numbers tie."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def rank(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[tuple[int, ...] | None]:
        flat = [prompt for prompt, texts in zip(prompts, answers, strict=True) for _ in texts]
        scores = iter(self.scorer(flat, [text for texts in answers for text in texts]))
        ranked: list[tuple[int, ...] | None] = []
        for texts in answers:
            mine = [score for _ in texts if (score := next(scores)) is not None]
            ranks = tuple(1 + sum(other > score for other in set(mine)) for score in mine)
            ranked.append(ranks if len(ranks) == len(texts) else None)
        return ranked
