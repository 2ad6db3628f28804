"""What several people's labels say of each other: agreement with intervals, over time, and how noisy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from rlhf.evaluation.intervals import wilson
from rlhf.objectives.agreement import (
    LEVELS,
    coincidences,
    dawid_skene,
    krippendorff_alpha,
    noise_of,
    noise_of_majority,
)

FIRST, TIE, SECOND, VALUES = 0, 1, 2, 3
"""Values in their order: the first of two answers is better (or a single one good), neither, the second (or bad)."""
RESAMPLES = 1000
WINDOWS = 8
"""Stretches of time at most, of at least `MIN_PAIRS` pairs of votes each."""
MIN_PAIRS = 20
EQUALLY_LIKELY = 1e-4
"""Difference of two probabilities that rounding and the end of EM may make where the labels make none."""
SMOOTHING = 0.5
"""Added to each cell of an annotator's confusion matrix: a few votes should not make anybody infallible."""


@dataclass(frozen=True)
class Labels:
    """Labels by annotator and item.

    Attributes:
        values: [A, U], −1 where annotator a did not label item u.
        order: [A, U], the place of each label in time.
    """

    annotators: tuple[str, ...]
    items: tuple[str, ...]
    values: Tensor
    order: Tensor

    @property
    def counts(self) -> Tensor:
        """[U, VALUES], labels of each value."""
        return torch.stack([(self.values == value).sum(0) for value in range(VALUES)], 1)

    @property
    def several(self) -> Tensor:
        """[U], whether more than one annotator labelled an item."""
        return (self.values >= 0).sum(0) > 1


def labels_from(votes: Sequence[tuple[str, str, int]]) -> Labels:
    """The table of (annotator, item, value), in the order of time; of two labels by one annotator the later counts."""
    annotators = tuple(dict.fromkeys(annotator for annotator, _, _ in votes))
    items = tuple(dict.fromkeys(item for _, item, _ in votes))
    row, column = ({name: i for i, name in enumerate(names)} for names in (annotators, items))
    values = torch.full((len(annotators), len(items)), -1)
    order = torch.full_like(values, -1)
    for place, (annotator, item, value) in enumerate(votes):
        values[row[annotator], column[item]] = value
        order[row[annotator], column[item]] = place
    return Labels(annotators, items, values, order)


def alphas(labels: Labels, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Krippendorff's α of each level, with the 95% interval of a bootstrap over items; `None` where it has no value."""
    each = coincidences(labels.counts).flatten(1)
    drawn = torch.Generator().manual_seed(seed)
    n = len(labels.items)
    found: dict[str, dict[str, float | None]] = {}
    sums = torch.stack(
        [each[torch.randint(n, (n,), generator=drawn)].sum(0) for _ in range(RESAMPLES if n else 0)] or [each.sum(0)]
    ).view(-1, VALUES, VALUES)
    for level in LEVELS:
        value = float(krippendorff_alpha(each.sum(0).view(VALUES, VALUES), level))
        resampled = krippendorff_alpha(sums, level)
        resampled = resampled[~resampled.isnan()]
        if value != value or not len(resampled):
            found[level] = {"value": None, "low": None, "high": None}
            continue
        low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        found[level] = {"value": value, "low": low, "high": high}
    return found


def share(agreeing: int, pairs: int) -> dict[str, float] | None:
    """A proportion of pairs of labels with Wilson's 95% interval; `None` where there are none."""
    if not pairs:
        return None
    low, high = wilson(agreeing, pairs)
    return {"share": agreeing / pairs, "low": low, "high": high, "n": pairs}


def pairs_of(labels: Labels) -> list[tuple[int, int, Tensor, Tensor]]:
    """Of each two annotators who labelled an item in common: their numbers, whether they say the same of each such item
    (tie for tie), and the place in time of the later one of the two labels."""
    found = []
    for a, b in combinations(range(len(labels.annotators)), 2):
        both = (labels.values[a] >= 0) & (labels.values[b] >= 0)
        if bool(both.any()):
            same = labels.values[a, both] == labels.values[b, both]
            found.append((a, b, same, torch.maximum(labels.order[a, both], labels.order[b, both])))
    return found


def _share(same: Sequence[Tensor]) -> dict[str, float] | None:
    return share(sum(int(one.sum()) for one in same), sum(len(one) for one in same))


def agreement_of(labels: Labels) -> dict[str, float] | None:
    """How often two annotators say the same of the same item, over all pairs of their labels."""
    return _share([same for _, _, same, _ in pairs_of(labels)])


def over_time(labels: Labels) -> list[dict[str, float]]:
    """Agreement in each stretch of time, in order; `from` and `to` are places of votes. A pair of labels belongs to
    the time of the later one."""
    found = pairs_of(labels)
    if not found:
        return []
    places, order = torch.cat([later for _, _, _, later in found]).sort(stable=True)
    same = torch.cat([same for _, _, same, _ in found])[order]
    windows = min(WINDOWS, len(same) // MIN_PAIRS)
    chunks = zip(places.chunk(windows), same.chunk(windows), strict=True) if windows else ()
    return [
        {"from": int(at[0]), "to": int(at[-1]), **result}
        for at, mine in chunks
        if (result := _share([mine])) is not None
    ]


def decided_pairs(labels: Labels) -> tuple[int, int]:
    """Pairs of labels of one item of which neither is a tie, and those of them that agree."""
    first, second = labels.counts[:, FIRST], labels.counts[:, SECOND]
    n = first + second
    return int((n * (n - 1) // 2).sum()), int((first * (first - 1) // 2 + second * (second - 1) // 2).sum())


def noise(labels: Labels, consensus: Tensor) -> dict[str, float] | None:
    """How often a label that is no tie is wrong; `None` where no item has two of them.

    Returns:
        `label`: from how often two agree (`noise_of`), with `low` and `high` from Wilson's interval of that, over `n`
        pairs; `majority`: of what the majority says, if errors are independent; `dawid_skene`: how often a label
        contradicts the other side, by the consensus of all, on items with several labels.
    """
    n, agreeing = decided_pairs(labels)
    if not n:
        return None
    low, high = wilson(agreeing, n)
    label = noise_of(agreeing / n)
    decided = (labels.counts[:, FIRST] + labels.counts[:, SECOND]).tolist()
    each = [noise_of_majority(label, votes) for votes in decided if votes]
    sided = consensus[:, FIRST] + consensus[:, SECOND]
    wrong = total = 0.0
    for value, other in ((FIRST, SECOND), (SECOND, FIRST)):
        votes = labels.counts[:, value] * labels.several
        wrong += float((votes * consensus[:, other]).sum())
        total += float((votes * sided).sum())
    return {
        "label": label,
        "low": noise_of(high),
        "high": noise_of(low),
        "n": n,
        "majority": sum(each) / len(each),
        "dawid_skene": wrong / total if total else 0.0,
    }


def consensus_of(labels: Labels) -> Tensor:
    """[U, VALUES], what all labels say together, each weighted by how well its annotator's fit the others'.

    An item with a single label keeps it: nothing tells its annotator's errors, and EM over such items drifts to the
    commonest value.
    """
    found, several = labels.counts.double(), labels.several
    if bool(several.any()):
        found[several] = dawid_skene(labels.values[:, several], VALUES, SMOOTHING).posterior
    return found


def majority_of(labels: Labels) -> Tensor:
    """[U], the value that more annotators chose than any other; a tie where there is none, or where two lead."""
    counts = labels.counts
    best, value = counts.max(1)
    return torch.where((counts == best[:, None]).sum(1) == 1, value, TIE)


def weighted_of(labels: Labels) -> Tensor:
    """[U], the likeliest value by `consensus_of`; a tie where two are equally likely. What nobody contradicts stands:
    a few labels of one value are no reason to turn another one."""
    posterior, counts = consensus_of(labels), labels.counts
    best, value = posterior.max(1)
    clear = (posterior > best[:, None] - EQUALLY_LIKELY).sum(1) == 1
    unanimous = (counts > 0).sum(1) == 1
    return torch.where(unanimous, counts.argmax(1), torch.where(clear, value, TIE))


def agreement_record(labels: Labels) -> dict[str, Any]:
    """All of it, as it stands in `agreement.json`: proportions with `low`, `high` (95%) and `n`."""
    consensus = consensus_of(labels)
    said = labels.values >= 0
    found = pairs_of(labels)
    annotators = {}
    for a, name in enumerate(labels.annotators):
        right = consensus.gather(1, labels.values[a].clamp_min(0)[:, None])[:, 0][said[a] & labels.several]
        annotators[name] = {
            "votes": int(said[a].sum()),
            "ties": int((labels.values[a] == TIE).sum()),
            "with_others": _share([same for one, other, same, _ in found if a in (one, other)]),
            "accuracy": float(right.mean()) if len(right) else None,
        }
    names = labels.annotators
    pairs = [{"first": names[a], "second": names[b], **(_share([same]) or {})} for a, b, same, _ in found]
    return {
        "items": len(labels.items),
        "several": int(labels.several.sum()),
        "votes": int(said.sum()),
        "alpha": alphas(labels),
        "agreement": agreement_of(labels),
        "annotators": annotators,
        "pairs": pairs,
        "over_time": over_time(labels),
        "noise": noise(labels, consensus),
    }


def disputed(labels: Labels, most: int) -> list[int]:
    """Items on which annotators differ, those with the least certain consensus first."""
    counts = labels.counts
    differ = (counts > 0).sum(1) > 1
    certainty = consensus_of(labels).max(1).values
    places = certainty.sort(stable=True).indices.tolist()
    return [place for place in places if bool(differ[place])][:most]
