"""What a reward model is good for: how often it agrees with preferences, and the best of n samples that it picks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from statistics import fmean
from typing import Any

import torch

from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.assistant.answers import CANDIDATES, draw_candidates
from rlhf.data.assistant.questions import recognise
from rlhf.data.records import Comparison, Prompt, Ranking, responses_of
from rlhf.evaluation.annotators import NoisyJudge
from rlhf.evaluation.intervals import wilson
from rlhf.objectives.preference import accuracy

Scores = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float | None]]
"""A number for each answer, given its prompt; `None` where there is none."""


@dataclass(frozen=True)
class Agreement:
    """How often a reward model agrees with the labels.

    Attributes:
        accuracy: averaged within a prompt, then over prompts; a tie of the reward model counts one half.
        low, high: Wilson's 95% interval with n prompts: pairs of one prompt share its answers.
        ceiling: the best possible accuracy on labels as noisy as these; `None` where nobody knows it.
    """

    accuracy: float
    low: float
    high: float
    n: int
    ceiling: float | None = None

    def record(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        return asdict(self)


def agreement(records: Sequence[Comparison | Ranking], scores: Scores, best: float | None = None) -> Agreement | None:
    """Accuracy of `scores` on comparisons; records without a pair that both are scored are left out.

    Args:
        best: the ceiling, where it is known.
    """
    texts = [responses_of(record)[0] for record in records]
    asked = [record.prompt for record, mine in zip(records, texts, strict=True) for _ in mine]
    flat = iter(scores(asked, [text for mine in texts for text in mine]))
    found = []
    for record, mine in zip(records, texts, strict=True):
        values = [next(flat) for _ in mine]
        pairs = [(values[better], values[worse]) for better, worse in responses_of(record)[1]]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known:
            found.append(float(accuracy(*torch.tensor(known, dtype=torch.float64).unbind(-1)).mean()))
    if not found:
        return None
    rate, n = fmean(found), len(found)
    return Agreement(rate, *wilson(rate * n, n), n, best)


def noisy_rankings(prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], seed: int) -> list[Ranking]:
    """Rankings as the embedded task's noisy annotator makes them, of given answers and graded candidates.

    Each answer is ranked once, however often it was given. Prompts that are not of the task's world are left out.
    """
    known = [(prompt, texts, recognise(prompt.text)) for prompt, texts in zip(prompts, answers, strict=True)]
    kept, mixed = [], []
    for prompt, texts, question in known:
        if question is not None:
            random = Random(f"evaluation candidates {seed} {prompt.key}")
            kept.append(prompt)
            mixed.append(tuple(dict.fromkeys([*texts, *draw_candidates(question, CANDIDATES, random)])))
    ranks = NoisyJudge(seed).rank(kept, mixed)
    triples = zip(kept, mixed, ranks, strict=True)
    return [Ranking(prompt, texts, ranked) for prompt, texts, ranked in triples if ranked is not None]


def best_accuracy(rankings: Sequence[Ranking]) -> float | None:
    """How often the gold judge itself agrees with its noisy labels: averaged within a prompt, then over prompts."""
    found = []
    for ranking in rankings:
        verdicts = [judge(ranking.prompt, text) for text in ranking.responses]
        if pairs := ceiling([verdict.score for verdict in verdicts if verdict is not None]):
            found.append(fmean(pairs))
    return fmean(found) if found else None


def best_of(scores: Sequence[float | None]) -> int:
    """Place of the highest score, the first of equals; answers without a score come last."""
    return max(range(len(scores)), key=lambda i: (-math.inf if (score := scores[i]) is None else score, -i))


def best_of_bound(n: int) -> float:
    """log n − (n − 1)/n: KL of the best of n samples to the model they came from is at most so much, in nats.

    Often given as the value itself (Stiennon et al. 2020); Beirami et al. 2024 (arXiv 2401.01879) show that it is a
    bound, and loose where few different answers are likely.
    """
    return math.log(n) - (n - 1) / n
