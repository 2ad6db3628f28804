"""What is said of a reward model: agreement, its ceiling, best-of-n and its bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from rlhf.data.assistant import generate, judge
from rlhf.data.assistant.annotator import NOISE
from rlhf.data.assistant.answers import CANDIDATES
from rlhf.data.records import Comparison, Prompt, Ranking
from rlhf.evaluation.intervals import wilson
from rlhf.evaluation.reward_model.preferences import agreement, best_accuracy, best_of, best_of_bound, noisy_rankings

A, B, C = (Prompt.of(text) for text in "abc")


def by_text(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
    """Answers are numbers; one that is none has no score."""
    return [float(text) if text.isdigit() else None for text in texts]


def test_pairs_are_averaged_within_a_prompt_first() -> None:
    records = [
        Comparison(A, chosen="2", rejected="1"),
        # 3 over 1: right; 3 over 5: wrong; 1 over 5: wrong
        Ranking(B, ("3", "1", "5"), (1, 2, 3)),
        # a tie of the scores, and one of the labels that makes no pair
        Ranking(C, ("4", "4", "4"), (1, 2, 2)),
    ]
    found = agreement(records, by_text, best=0.9)
    assert found is not None
    assert found.accuracy == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    assert (found.low, found.high) == pytest.approx(wilson(1 + 1 / 3 + 1 / 2, 3))
    assert (found.n, found.ceiling) == (3, 0.9)


def test_what_is_not_scored_is_left_out() -> None:
    found = agreement([Ranking(A, ("3", "x", "1"), (1, 2, 3)), Comparison(B, "x", "1")], by_text)
    assert found is not None
    assert (found.accuracy, found.n, found.ceiling) == (1.0, 1, None)
    assert agreement([Comparison(B, "x", "1")], by_text) is None
    assert agreement([Ranking(A, ("1", "2"), (1, 1))], by_text) is None
    assert agreement([], by_text) is None


def test_rankings_hold_the_answers_once_and_graded_candidates() -> None:
    prompts = [prompt for prompt in generate("prompts", 1)[:20] if isinstance(prompt, Prompt)]
    answers = [["Have a nice day!", "Have a nice day!", "?"] for _ in prompts]
    rankings = noisy_rankings([*prompts, A], [*answers, ["x"]], seed=1)
    assert [ranking.prompt for ranking in rankings] == prompts, "a prompt of another world has no ranking"
    for ranking in rankings:
        assert ranking.responses[:2] == ("Have a nice day!", "?")
        assert CANDIDATES <= len(ranking.responses) <= CANDIDATES + 2 and len(set(ranking.responses)) == len(
            ranking.responses
        )
    assert noisy_rankings(prompts, answers, seed=1) == rankings[:20] != noisy_rankings(prompts, answers, seed=2)


def test_the_judge_itself_reaches_the_ceiling_and_no_more() -> None:
    prompts = [prompt for prompt in generate("prompts", 1)[:800] if isinstance(prompt, Prompt)]
    rankings = noisy_rankings(prompts, [["?"] for _ in prompts], seed=1)

    def gold(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        verdicts = [judge(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        return [verdict.score for verdict in verdicts if verdict is not None]

    ceiling = best_accuracy(rankings)
    found = agreement(rankings, gold, ceiling)
    assert ceiling is not None and found is not None
    assert 0.8 < ceiling < 0.97
    assert found.accuracy == pytest.approx(ceiling, abs=0.03)
    assert best_accuracy([]) is None


def test_ceiling_by_hand() -> None:
    """The better of two answers d points apart wins with probability σ(d/noise); equal scores make no pair."""
    prompt, right = Prompt.of("What is the capital of France?"), "The capital of France is Paris."
    good, bad = judge(prompt, right), judge(prompt, "Rome.")
    assert good is not None and bad is not None
    assert good.score - bad.score > 5
    sure = 1 / (1 + math.exp(-(good.score - bad.score) / NOISE))
    assert best_accuracy([Ranking(prompt, ("Rome.", right), (1, 2))]) == pytest.approx(sure)
    silence = judge(prompt, "")
    assert silence is not None
    gaps = [good.score - bad.score, good.score - silence.score, abs(bad.score - silence.score)]
    mixed = sum(1 / (1 + math.exp(-gap / NOISE)) for gap in gaps) / 3
    both = [Ranking(prompt, ("Rome.", right), (1, 2)), Ranking(prompt, ("Rome.", right, ""), (1, 2, 3))]
    assert best_accuracy(both) == pytest.approx((sure + mixed) / 2)
    assert best_accuracy([Ranking(prompt, ("?", "?"), (1, 1))]) is None


def test_the_best_is_the_first_of_the_highest() -> None:
    assert best_of([1.0, 3.0, 2.0, 3.0]) == 1
    assert best_of([None, -1.0, None]) == 1
    assert best_of([None, None]) == 0


def test_the_bound_bounds() -> None:
    """Of m equally likely answers the best of n is the k-th with probability (k^n − (k−1)^n)/m^n."""
    assert best_of_bound(1) == 0
    assert best_of_bound(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_bound(16) == pytest.approx(1.8351, abs=1e-4)
    for n in (2, 16):
        for m, slack in ((2, 1.5), (1000, 0.02)):
            probabilities = [(k**n - (k - 1) ** n) / m**n for k in range(1, m + 1)]
            kl = sum(p * math.log(p * m) for p in probabilities if p)
            assert best_of_bound(n) - slack < kl <= best_of_bound(n)
