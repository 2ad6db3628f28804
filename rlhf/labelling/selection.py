"""Which comparisons to ask for, when there are more than anybody can judge (active learning)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

import torch
from torch import Tensor

from rlhf.labelling.questions import Answers, make_question
from rlhf.objectives.acquisition import farthest_first, pair_disagreement, pair_margin

WAYS = ("random", "disagreement", "margin", "diverse")
BY_SCORES = ("disagreement", "margin")
"""Those that need scores of reward models."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt.

    Attributes:
        place: of the prompt; first, second: of its answers, first < second.
        id: that of the question in `label.py`.
        value: what the way goes by, more is asked first; 0 where nothing but chance decides.
    """

    place: int
    first: int
    second: int
    id: str
    value: float = 0.0


def choose(
    way: str,
    pool: Sequence[Answers],
    count: int,
    seed: int,
    *,
    scores: Sequence[Tensor | None] = (),
    features: Callable[[Sequence[Pair]], Tensor] | None = None,
    known: Collection[str] = (),
) -> list[Pair]:
    """Pairs to be judged, the first most wanted.

    Each prompt gives one pair before any gives a second one, and so on: pairs of one prompt resemble each other. Within
    such a turn, `disagreement` takes the pairs about which the reward models differ most, `margin` those about which
    they are least decided, `random` any, and `diverse` pairs that lie far from each other and from those of earlier
    turns. Ties, and what chance decides, are drawn from `seed`, the prompt and the answers, whatever else the pool
    holds.

    Args:
        count: of pairs; fewer come back where the pool has fewer.
        scores: of each prompt's answers by K reward models, [K, A]; `None`: they can't be scored, and ways that go by
            scores don't ask about them.
        features: of pairs, [N, D]; needed by `diverse`.
        known: ids of pairs that were asked before.

    Raises:
        ValueError: `way` is another word, or what it needs is missing.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    if (way in BY_SCORES and len(scores) != len(pool)) or (way == "diverse" and features is None):
        raise ValueError(f"{way} needs {'features' if way == 'diverse' else 'scores of each prompt'}")
    of_prompts = [
        _wanted(way, place, answers, seed, scores[place] if way in BY_SCORES else None, known)
        for place, answers in enumerate(pool)
    ]
    chosen: list[Pair] = []
    for turn in range(max(map(len, of_prompts), default=0)):
        offered = [pairs[turn] for pairs in of_prompts if turn < len(pairs)]
        offered.sort(key=lambda pair: (-pair.value, _draw(seed, pair)))
        room = min(count - len(chosen), len(offered))
        if way == "diverse" and room < len(offered):
            assert features is not None
            places = farthest_first(features([*chosen, *offered]), room, range(len(chosen)))
            chosen += [offered[place - len(chosen)] for place in places]
        else:
            chosen += offered[:room]
        if len(chosen) == count:
            break
    return chosen


def _wanted(
    way: str, place: int, answers: Answers, seed: int, scores: Tensor | None, known: Collection[str]
) -> list[Pair]:
    """The pairs of one prompt that were not asked before, the most wanted first."""
    if way in BY_SCORES:
        if scores is None or not torch.isfinite(scores).all():
            return []
        values = pair_disagreement(scores) if way == "disagreement" else -pair_margin(scores)
    else:
        values = torch.zeros(len(answers.texts), len(answers.texts))
    pairs = []
    for first, second in combinations(range(len(answers.texts)), 2):
        name = pair_id(answers, first, second)
        if name not in known:
            pairs.append(Pair(place, first, second, name, values[first, second].item()))
    return sorted(pairs, key=lambda pair: (-pair.value, _draw(seed, pair)))


def pair_id(answers: Answers, first: int, second: int) -> str:
    """The name of the question which of two answers is better, the same in `label.py`."""
    return make_question("pairs", answers.prompt, [answers.texts[first], answers.texts[second]]).id


def _draw(seed: int, pair: Pair) -> float:
    return Random(f"pair {seed} {pair.id}").random()
