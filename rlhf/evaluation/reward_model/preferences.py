"""What a reward model is good for: how often it agrees with preferences, and the best of n samples that it picks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import fmean
from typing import Any

from rlhf.data.assistant import judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.assistant.answers import CANDIDATES, draw_candidates
from rlhf.data.assistant.questions import recognise
from rlhf.data.records import Prompt, Ranking
from rlhf.evaluation.judges.annotators import NoisyJudge
from rlhf.evaluation.reward_model.pairs import (
    Accuracy,
    Calibration,
    Labelled,
    LengthBias,
    MemberAgreement,
    Scores,
    Slicer,
    accuracy_of,
    by_slice,
    calibration,
    length_bias,
    member_agreement,
    scored_pairs,
)


@dataclass(frozen=True)
class Agreement:
    """How often a reward model agrees with the labels, and where it does not.

    Attributes:
        accuracy: averaged within a prompt, then over prompts; a tie of the reward model counts one half.
        low, high: Wilson's 95% interval with n prompts: pairs of one prompt share its answers.
        ceiling: the best possible accuracy on labels as noisy as these; `None` if unknown.
        pairs: of the n prompts.
        slices: dimension (category, length, source, …) → slice → accuracy.
        calibration, length_bias: as the functions of these names say.
        members: of an ensemble, each one's accuracy. agreement: of them with each other.
    """

    accuracy: float
    low: float
    high: float
    n: int
    ceiling: float | None = None
    pairs: int = 0
    slices: dict[str, dict[str, Accuracy]] = field(default_factory=dict)
    calibration: Calibration | None = None
    length_bias: LengthBias | None = None
    members: dict[str, Accuracy] = field(default_factory=dict)
    agreement: MemberAgreement | None = None

    def record(self) -> dict[str, Any]:
        """The entry of `evaluation.json`."""
        return asdict(self)


def agreement(
    records: Sequence[Labelled],
    scores: Scores,
    best: float | None = None,
    slicer: Slicer | None = None,
    members: Mapping[str, Scores] | None = None,
) -> Agreement | None:
    """What `scores` are worth on comparisons; records without a pair that both are scored are left out.

    Args:
        best: the ceiling, where it is known.
        slicer: what else to report by, beside a record's own tags and the answers' lengths.
        members: an ensemble's, by name; each must score what `scores` does.
    """
    pairs = scored_pairs(records, scores, slicer)
    whole = accuracy_of(pairs)
    if whole is None:
        return None
    each = {name: scored_pairs(records, mine) for name, mine in (members or {}).items()}
    return Agreement(
        whole.accuracy,
        whole.low,
        whole.high,
        whole.n,
        best,
        whole.pairs,
        by_slice(pairs),
        calibration(pairs),
        length_bias(pairs),
        {name: found for name, mine in each.items() if (found := accuracy_of(mine)) is not None},
        # A pair that one member could not read has no place beside the others'.
        member_agreement(each) if each and len({len(mine) for mine in each.values()}) == 1 else None,
    )


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


def slicer_of(answers: Mapping[Prompt, Sequence[str]]) -> Slicer:
    """Slices of the embedded task: what a question is, and whether a pair's answers were sampled or are candidates.

    Args:
        answers: those that models sampled, by prompt.
    """

    def slicer(record: Labelled, better: int, worse: int) -> Mapping[str, str]:
        question = recognise(record.prompt.text)
        assert question is not None and isinstance(record, Ranking)
        sampled = sum(record.responses[i] in answers[record.prompt] for i in (better, worse))
        source = ("candidates", "sampled and candidate", "sampled")[sampled]
        return {"category": question.kind, "topic": question.topic, "source": source}

    return slicer


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
    """log n − (n − 1)/n, an upper bound in nats on the KL of the best of n samples to the model that they came from.

    Often given as the value itself (Stiennon et al. 2020); Beirami et al. 2024 (arXiv 2401.01879) show that it is a
    bound, and loose where few different answers are likely.
    """
    return math.log(n) - (n - 1) / n
