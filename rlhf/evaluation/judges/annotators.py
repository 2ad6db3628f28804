"""Who ranks several answers to one prompt: one interface for the noisy judge, a reward model, people and AI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from random import Random
from typing import Protocol

from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import NOISE, noisy_ranks
from rlhf.data.records import Prompt
from rlhf.evaluation.judges.calls import Messages
from rlhf.evaluation.judges.rubric import Compared, Progress, ReadingJudge

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
            ranked.append(ranks_of(mine) if len(mine) == len(texts) else None)
        return ranked


class ReadingAnnotator:
    """A language model that reads two answers at a time, in both orders.

    Of K answers, each two are compared; an answer is ranked by how many of the others it wins against, a tie counting
    one half (Copeland 1951): of two answers, that is the verdict itself. A pair that could not be read counts as a tie;
    a prompt of which no pair could be read is not ranked.

    Attributes:
        compared: every pair that was asked about; `None`: it could not be read.
    """

    def __init__(self, judge: ReadingJudge) -> None:
        self.judge = judge
        self.compared: list[Compared | None] = []

    def asked(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[Messages]:
        """The requests that ranking makes, if each is understood at once: K · (K − 1) for a prompt."""
        triples = zip(*_pairs(prompts, answers), strict=True)
        return [messages for triple in triples for messages in self.judge.both_orders(*triple)]

    def rank(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[tuple[int, ...] | None]:
        self.compared = self.judge.compare(*_pairs(prompts, answers), progress)
        read = iter(self.compared)
        ranked: list[tuple[int, ...] | None] = []
        for texts in answers:
            wins, known = [0.0] * len(texts), len(texts) < 2
            for first, second in combinations(range(len(texts)), 2):
                found = next(read)
                known = known or found is not None
                outcome = 0.5 if found is None else found.outcome
                wins[first] += outcome
                wins[second] += 1 - outcome
            ranked.append(ranks_of(wins) if known else None)
        return ranked


def _pairs(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> tuple[list[Prompt], list[str], list[str]]:
    """Each two answers to the same prompt: the prompt, the first one, the second one."""
    found = [
        (prompt, first, second)
        for prompt, texts in zip(prompts, answers, strict=True)
        for first, second in combinations(texts, 2)
    ]
    return [prompt for prompt, _, _ in found], [first for _, first, _ in found], [second for _, _, second in found]


def ranks_of(scores: Sequence[float]) -> tuple[int, ...]:
    """Ranks by number, the largest first; equal numbers tie, and the next rank follows without a gap."""
    return tuple(1 + sum(other > score for other in set(scores)) for score in scores)
