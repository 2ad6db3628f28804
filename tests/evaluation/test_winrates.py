"""Win rates and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf.evaluation.intervals import clopper_pearson, clustered_wilson, sign_test, wilson
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.winrates import all_pairs, interval, of_outcomes, win_rate


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


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (5, 5, 1.0),
    ],
)
def test_the_sign_test_by_hand(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses).p == pytest.approx(p)


def test_the_sign_test_of_many() -> None:
    """The normal approximation with continuity correction is good to a percent here."""
    z = (5200 - 5000 - 0.5) / math.sqrt(10_000 / 4)
    assert sign_test(5200, 4800).p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)
    assert 0 <= sign_test(100_000, 0).p < 1e-300


def test_exact_intervals() -> None:
    # Clopper & Pearson's own tails: 0 of n ends at 1 − (α/2)^(1/n); 8 of 10 is in every table.
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025**0.1), 1.0)
    assert clopper_pearson(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert clopper_pearson(2, 10) == pytest.approx((1 - 0.9748, 1 - 0.4439), abs=1e-4)


def test_ties_say_nothing_to_the_sign_test() -> None:
    found = of_outcomes([1.0] * 8 + [0.0] * 2 + [0.5] * 90 + [None])
    assert found is not None
    assert (found.rate, found.n, found.by) == (0.53, 100, "comparisons")
    assert (found.sign.rate, found.sign.n) == (0.8, 10)
    assert found.record()["sign_test"]["p"] == sign_test(8, 2).p
    assert of_outcomes([None]) is None


def test_members_agree_where_all_see_the_same_winner() -> None:
    mine = [Mark(2, members=(1, 3)), Mark(2, members=(1, 3)), Mark(0, members=(0, 0)), None]
    theirs = [Mark(1, members=(0, 2)), Mark(1, members=(2, 0)), Mark(0, members=(0, 0)), Mark(0, members=(0, 0))]
    found = win_rate(mine, theirs)
    assert found is not None and found.agreement == pytest.approx(2 / 3)
    assert win_rate(marks(1), marks(2)).agreement is None  # type: ignore[union-attr]


def test_votes_on_one_question_are_alike() -> None:
    """Worked out by hand: three questions with 2, 2 and 0 wins of two votes each. p = 4/6; the deviations are 2 − 4/3,
    2 − 4/3 and −4/3, so the variance between them is 3/2 · (4/9 + 4/9 + 16/9)/36 = 1/9, against p(1 − p)/n = 1/27 of
    six independent votes: a design effect of 3, and two votes' worth of evidence."""
    assert clustered_wilson([(2, 2), (2, 2), (0, 2)]) == pytest.approx(wilson(4 / 3, 2))
    assert clustered_wilson([(1, 1), (0.5, 1), (0, 1)]) == wilson(1.5, 3), "a vote for each question"
    assert clustered_wilson([(1, 2), (1, 2), (1, 2)]) == wilson(3, 6), "never narrower than independent votes"
    assert clustered_wilson([(3, 3), (3, 3)]) == wilson(2, 2) and clustered_wilson([(2, 3)]) == wilson(2 / 3, 1)


def test_clusters_hold_the_truth_in_19_of_20_cases() -> None:
    """Three votes on each of 60 questions, alike by a draw for each question: plain Wilson holds it in far fewer."""
    random = np.random.default_rng(5)
    held = plain = 0
    for _ in range(400):
        won = random.binomial(3, random.beta(0.6, 0.4, size=60))
        low, high = clustered_wilson([(float(k), 3) for k in won])
        held += low <= 0.6 <= high
        low, high = wilson(float(won.sum()), 180)
        plain += low <= 0.6 <= high
    assert held / 400 > 0.92 > 0.88 > plain / 400
