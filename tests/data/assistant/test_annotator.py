from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from rlhf.data.assistant.annotator import NOISE, ceiling, noisy_ranks

DRAWS = 20_000
TOLERANCE = 0.012
"""Three and a half standard errors of a share of that many draws; errors of a normal distribution miss by 0.03."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("better", "worse", "noise"), [(7.0, 7.0 - NOISE, NOISE), (10, 1, 3.0), (10, 7, 3.0), (2, 1, 4.0), (1, 0, 0.1)]
)
def test_the_better_of_two_wins_as_bradley_and_terry_say(better: float, worse: float, noise: float) -> None:
    random = Random(1)
    draws = [noisy_ranks([worse, better], random, noise) for _ in range(DRAWS)]
    assert set(draws) <= {(1, 2), (2, 1)}
    share = draws.count((2, 1)) / DRAWS
    assert share == pytest.approx(sigmoid((better - worse) / noise), abs=TOLERANCE)


def test_every_pair_within_a_ranking_follows_it_too() -> None:
    random = Random(2)
    scores, noise = [7.0, 10.0, 5.0, 8.0], 3.0
    draws = [noisy_ranks(scores, random, noise) for _ in range(DRAWS)]
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            if a > b:
                share = sum(ranks[i] < ranks[j] for ranks in draws) / DRAWS
                assert share == pytest.approx(sigmoid((a - b) / noise), abs=TOLERANCE)
    # The first place goes by the softmax of the scores, so the errors of a ranking's answers are independent.
    firsts = Counter(ranks.index(1) for ranks in draws)
    total = sum(math.exp(score / noise) for score in scores)
    for i, score in enumerate(scores):
        assert firsts[i] / DRAWS == pytest.approx(math.exp(score / noise) / total, abs=TOLERANCE)


def test_the_default_noise_is_the_one_that_is_documented() -> None:
    random = Random(3)
    share = sum(noisy_ranks([NOISE, 0], random) == (1, 2) for _ in range(DRAWS)) / DRAWS
    assert share == pytest.approx(0.731, abs=TOLERANCE)


def test_equal_scores_tie_and_others_never_do() -> None:
    random = Random(4)
    for _ in range(500):
        a, b, c, d, e = noisy_ranks([7, 1, 7, 10, 1], random)
        assert a == c
        assert b == e
        assert sorted({a, b, d}) == [1, 2, 3]
    assert noisy_ranks([2, 2, 2], random) == (1, 1, 1)
    assert noisy_ranks([5], random) == (1,)


def test_ranks_are_those_of_the_scores_where_the_noise_is_small() -> None:
    assert noisy_ranks([3, 10, 0, 7, 10], Random(5), 1e-3) == (3, 1, 4, 2, 1)


def test_a_seed_gives_the_same_ranks() -> None:
    def draw(seed: int) -> list[tuple[int, ...]]:
        random = Random(seed)
        return [noisy_ranks([7, 5, 6], random) for _ in range(20)]

    assert draw(6) == draw(6)
    assert draw(6) != draw(7)


def test_a_draw_of_zero_is_no_error() -> None:
    class Zero(Random):
        def random(self) -> float:
            return 0.0

    assert noisy_ranks([1, 2], Zero()) == (2, 1)


def test_ceiling_by_hand() -> None:
    # Gaps of 2, 2, 1 and 1 twice, one tie left out: σ(1) and σ(½).
    assert ceiling([4, 2, 3, 2], 2.0) == pytest.approx([0.7311, 0.6225, 0.7311, 0.6225, 0.6225], abs=1e-4)
    assert ceiling([0, NOISE]) == pytest.approx([0.7311], abs=1e-4)
    assert ceiling([5, 5]) == []
    assert ceiling([1]) == []


def test_the_ceiling_is_the_share_of_labels_that_agree_with_the_judge() -> None:
    random, scores = Random(8), [10.0, 7.0, 7.0, 1.0]
    agree = total = 0
    for _ in range(DRAWS):
        ranks = noisy_ranks(scores, random, 4.0)
        pairs = [(i, j) for i in range(4) for j in range(4) if scores[i] > scores[j]]
        agree += sum(ranks[i] < ranks[j] for i, j in pairs)
        total += len(pairs)
    best = ceiling(scores, 4.0)
    assert agree / total == pytest.approx(sum(best) / len(best), abs=TOLERANCE)
