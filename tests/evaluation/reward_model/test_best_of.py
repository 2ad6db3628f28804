from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest

from rlhf.evaluation.reward_model.best_of import best_of_curve
from rlhf.evaluation.reward_model.preferences import best_of_bound

REWARDS = [[0.3, -1.0, 2.0, 0.5, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]]
SCORES = [[1.0, 9.0, 3.0, 7.0, 2.0], [0.0, 10.0, 5.0, 5.0, 5.0]]


def test_it_is_the_mean_over_all_subsets() -> None:
    curve = best_of_curve(REWARDS, SCORES)
    assert [point["n"] for point in curve] == [1, 2, 4, 5]
    for point in curve:
        means = [
            fmean(max(subset)[1] for subset in combinations(zip(rewards, scores, strict=True), point["n"]))
            for rewards, scores in zip(REWARDS, SCORES, strict=True)
        ]
        assert point["score"] == pytest.approx(fmean(means))
        assert point["score_low"] < point["score"] < point["score_high"]
        assert point["kl_bound"] == best_of_bound(point["n"])


def test_prompts_without_a_number_are_left_out() -> None:
    curve = best_of_curve([[1.0, 2.0], [1.0, None]], [[3.0, 4.0], [100.0, 100.0]])
    assert [(point["n"], point["score"]) for point in curve] == [(1, 3.5), (2, 4.0)]
    assert best_of_curve([], []) == []
    assert best_of_curve([[None]], [[1.0]]) == []
