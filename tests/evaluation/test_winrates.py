"""Win rates and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf.evaluation.intervals import wilson
from rlhf.evaluation.judges import Mark
from rlhf.evaluation.winrates import all_pairs, interval, win_rate


def marks(*scores: float | None) -> list[Mark | None]:
    return [None if score is None else Mark(score) for score in scores]


def test_ties_count_one_half_and_every_outcome_is_kept() -> None:
    found = win_rate(marks(3, 2, 2, 1, None, 5), marks(1, 2, 2, 4, 0, None))
    assert found is not None
    assert (found.rate, found.n, found.wins, found.ties, found.losses) == (0.5, 4, 1, 2, 1)
    better = win_rate(marks(3, 2, 2, 2), marks(1, 2, 2, 1))
    assert better is not None
    assert better.rate == 0.75 and better.low < 0.75 < better.high
    assert win_rate(marks(None, 1), marks(1, None)) is None


def test_lists_of_different_length_are_a_mistake() -> None:
    with pytest.raises(ValueError):
        win_rate(marks(1, 2), marks(1))


def test_the_interval_is_that_of_drawing_prompts_again() -> None:
    outcomes = np.repeat([1.0, 0.5, 0.0], [50, 30, 20])
    random = np.random.default_rng(7)
    means = outcomes[random.integers(0, 100, size=(20_000, 100))].mean(1)
    assert interval(50, 30, 20) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)
    assert interval(50, 30, 20) == interval(50, 30, 20), "a fixed seed"


def test_ties_make_it_narrower_than_a_coin_would_be() -> None:
    low, high = interval(25, 50, 25)
    coin_low, coin_high = wilson(50, 100)
    assert high - low < 0.8 * (coin_high - coin_low)


@pytest.mark.parametrize(("outcomes", "rate"), [((10, 0, 0), 1.0), ((0, 10, 0), 0.5), ((0, 0, 10), 0.0)])
def test_ten_equal_outcomes_prove_little(outcomes: tuple[int, int, int], rate: float) -> None:
    assert interval(*outcomes) == wilson(10 * rate, 10)
    assert interval(10, 0, 0)[0] == pytest.approx(10 / (10 + 1.959964**2))


def test_it_holds_the_truth_in_19_of_20_cases() -> None:
    random = np.random.default_rng(3)
    held = 0
    for counts in random.multinomial(100, [0.5, 0.2, 0.3], size=300):
        low, high = interval(*counts.tolist())
        held += low <= 0.6 <= high
    assert 0.91 < held / 300 < 0.98


def test_later_models_are_compared_with_earlier_ones() -> None:
    found = all_pairs({"base": marks(1, 1), "sft": marks(2, 1), "ppo": marks(3, 3)})
    assert {pair: rate.rate for pair, rate in found.items()} == {"sft>base": 0.75, "ppo>base": 1.0, "ppo>sft": 1.0}
    assert all_pairs({"base": marks(None), "sft": marks(1)}) == {}
