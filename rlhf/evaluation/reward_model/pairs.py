"""Labelled pairs with a reward model's scores, and what they say of it: accuracy, calibration, length bias."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias, TypedDict

import numpy as np
import torch

from rlhf.data.records import Comparison, Prompt, Ranking, responses_of
from rlhf.evaluation.intervals import wilson
from rlhf.evaluation.metrics import words
from rlhf.objectives.preference.bradley_terry import accuracy, calibration_bins, expected_calibration_error

Scores = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float | None]]
"""A number for each answer, given its prompt; `None` where there is none."""
Labelled: TypeAlias = Comparison | Ranking
Slicer = Callable[[Labelled, int, int], Mapping[str, str]]
"""Names of the slices that a pair falls in, by dimension, from its record and the places of better and worse answer."""

SIMILAR = 0.1
"""Answers are of similar length where the shorter lacks at most this share of the longer one's words."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, of which a label prefers the first.

    Attributes:
        record: number of the record that it comes from; pairs of one record share its answers.
        better, worse: scores.
        words: of the better and of the worse answer.
        slices: dimension → slice.
    """

    record: int
    better: float
    worse: float
    words: tuple[int, int]
    slices: Mapping[str, str] = field(default_factory=dict)


def scored_pairs(records: Sequence[Labelled], scores: Scores, slicer: Slicer | None = None) -> list[Pair]:
    """Every pair of every record whose answers both have a score."""
    texts = [responses_of(record)[0] for record in records]
    asked = [record.prompt for record, mine in zip(records, texts, strict=True) for _ in mine]
    flat = iter(scores(asked, [text for mine in texts for text in mine]))
    found = []
    for number, (record, mine) in enumerate(zip(records, texts, strict=True)):
        values = [next(flat) for _ in mine]
        lengths = [len(words(text)) for text in mine]
        for better, worse in responses_of(record)[1]:
            a, b = values[better], values[worse]
            if a is None or b is None:
                continue
            sizes = (lengths[better], lengths[worse])
            slices = {**dict(record.tags), "length": length_slice(*sizes)}
            slices |= slicer(record, better, worse) if slicer is not None else {}
            found.append(Pair(number, a, b, sizes, slices))
    return found


def length_slice(better: int, worse: int) -> str:
    """Whether the better answer is the longer one, by words."""
    longer = max(better, worse)
    if longer - min(better, worse) <= SIMILAR * longer:
        return "similar"
    return "better_is_longer" if better > worse else "worse_is_longer"


@dataclass(frozen=True)
class Accuracy:
    """How often scores agree with labels.

    Attributes:
        accuracy: averaged within a record, then over records; a tie of scores counts one half.
        low, high: Wilson's 95% interval with n records: pairs of one record share its answers.
        n: records. pairs: of them.
    """

    accuracy: float
    low: float
    high: float
    n: int
    pairs: int


def accuracy_of(pairs: Iterable[Pair]) -> Accuracy | None:
    """`None` without pairs."""
    groups: dict[int, list[tuple[float, float]]] = {}
    for pair in pairs:
        groups.setdefault(pair.record, []).append((pair.better, pair.worse))
    if not groups:
        return None
    means = [float(accuracy(*torch.tensor(g, dtype=torch.float64).unbind(-1)).mean()) for g in groups.values()]
    rate, n = fmean(means), len(means)
    return Accuracy(rate, *wilson(rate * n, n), n, sum(map(len, groups.values())))


def by_slice(pairs: Sequence[Pair]) -> dict[str, dict[str, Accuracy]]:
    """Dimension → slice → accuracy, slices in the order of their names."""
    names = sorted({(dimension, name) for pair in pairs for dimension, name in pair.slices.items()})
    found: dict[str, dict[str, Accuracy]] = {}
    for dimension, name in names:
        mine = accuracy_of(pair for pair in pairs if pair.slices.get(dimension) == name)
        assert mine is not None
        found.setdefault(dimension, {})[name] = mine
    return found


class Bin(TypedDict):
    """Pairs of similar certainty.

    Attributes:
        low, high: ends of the bin.
        said, happened: means within it of σ(score difference), and of how often the label agrees.
        weight: its records; the upper half of the bins has as many as there are, and the lower half once more.
    """

    low: float
    high: float
    said: float
    happened: float
    weight: float


class Calibration(TypedDict):
    """Expected calibration error, and the curve that it comes from."""

    error: float
    bins: list[Bin]


class LengthBias(TypedDict):
    """Whether length alone raises a score; `None` without pairs that differ in words.

    Attributes:
        n: pairs whose answers differ in words.
        correlation: of score difference and difference in words (Pearson, without an intercept: a pair has no first
            answer).
        prefers_longer: share of pairs in which the longer answer scores higher.
        labels_prefer_longer: share in which the label prefers it: what exceeds that is the model's own.
    """

    n: int
    correlation: float | None
    prefers_longer: float | None
    labels_prefer_longer: float | None


class MemberAgreement(TypedDict):
    """How far the members of an ensemble see the same winner in the same pairs.

    Attributes:
        pairs: number of pairs.
        pairwise: share on which two members agree, averaged over every two of them; a member that ties agrees half.
        unanimous: share on which all members agree.
        accuracy_if_unanimous, accuracy_if_split: accuracy of the mean score there.
        spread: standard deviation of the score difference over members, averaged over pairs.
    """

    pairs: int
    pairwise: float
    unanimous: float
    accuracy_if_unanimous: float | None
    accuracy_if_split: float | None
    spread: float


def calibration(pairs: Sequence[Pair], bins: int = 10) -> Calibration:
    """σ(score difference) beside what labels say.

    Each pair is seen both ways round, so the curve is symmetric about one half; pairs of one record weigh 1 together.
    Empty bins are left out.
    """
    counts: dict[int, int] = {}
    for pair in pairs:
        counts[pair.record] = counts.get(pair.record, 0) + 1
    weights = torch.tensor([1 / counts[pair.record] for pair in pairs], dtype=torch.float64)
    said = torch.sigmoid(torch.tensor([pair.better - pair.worse for pair in pairs], dtype=torch.float64))
    sums = calibration_bins(said, weights, bins).T.tolist()
    return {
        "error": float(expected_calibration_error(said, weights, bins)),
        "bins": [
            {"low": i / bins, "high": (i + 1) / bins, "said": p / w, "happened": hits / w, "weight": w}
            for i, (w, p, hits) in enumerate(sums)
            if w > 0
        ],
    }


def length_bias(pairs: Sequence[Pair]) -> LengthBias:
    """Whether length alone raises a score, over pairs whose answers differ in words."""
    differing = [pair for pair in pairs if pair.words[0] != pair.words[1]]
    if not differing:
        return {"n": 0, "correlation": None, "prefers_longer": None, "labels_prefer_longer": None}
    scores = np.array([pair.better - pair.worse for pair in differing])
    lengths = np.array([pair.words[0] - pair.words[1] for pair in differing], dtype=float)
    scale = float(np.sqrt((scores**2).sum() * (lengths**2).sum()))
    prefers = np.where(scores == 0, 0.5, (scores > 0) == (lengths > 0))
    return {
        "n": len(differing),
        "correlation": float((scores * lengths).sum()) / scale if scale else None,
        "prefers_longer": float(prefers.mean()),
        "labels_prefer_longer": float((lengths > 0).mean()),
    }


def member_agreement(members: Mapping[str, Sequence[Pair]]) -> MemberAgreement:
    """Compare the winners that the members see; every member has the same pairs in the same order."""
    gaps = np.array([[pair.better - pair.worse for pair in pairs] for pairs in members.values()])
    signs = np.sign(gaps)
    two = [1 - np.abs(signs[i] - signs[j]) / 2 for i in range(len(signs)) for j in range(i)]
    unanimous = (signs == signs[0]).all(0)
    right = np.where(gaps.mean(0) == 0, 0.5, gaps.mean(0) > 0)
    return {
        "pairs": int(gaps.shape[1]),
        "pairwise": float(np.mean(two)),
        "unanimous": float(unanimous.mean()),
        "accuracy_if_unanimous": float(right[unanimous].mean()) if unanimous.any() else None,
        "accuracy_if_split": float(right[~unanimous].mean()) if (~unanimous).any() else None,
        "spread": float(gaps.std(0).mean()),
    }
