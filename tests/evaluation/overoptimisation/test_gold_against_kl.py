from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from rlhf.evaluation.overoptimisation.gold_against_kl import Track, of_best_of_n, of_samples
from rlhf.evaluation.reward_model.best_of import best_of_means
from rlhf.evaluation.reward_model.preferences import best_of_bound
from rlhf.objectives.overoptimisation import gold_gain

PROMPTS = 40


def samples(alpha: float, beta: float, steps: int = 9) -> list[dict[str, Any]]:
    """A run whose gold score follows the law exactly, on prompts of different difficulty."""
    found = []
    for step in range(steps):
        d = torch.tensor(step / 2)
        gain = float(gold_gain(d, alpha, beta, "rl"))
        for i in range(PROMPTS):
            record = {"step": 5 * step, "prompt": [["user", f"q{i}"]], "response": "a"}
            found.append(record | {"kl": float(d) ** 2, "gold": i % 7 + gain, "score": i % 5 + 2 * float(d)})
    return found


def test_a_run_that_follows_the_law() -> None:
    track = of_samples("p", "ppo", samples(2.0, 0.8))
    assert track is not None and track.form == "rl"
    found = track.record(seed=1)
    assert (found["name"], found["method"], found["prompts"]) == ("p", "ppo", PROMPTS)
    assert [point["step"] for point in found["points"]] == [5 * step for step in range(9)]
    start, last = found["points"][0], found["points"][-1]
    assert (start["gold_gain"], start["proxy_gain"], start["distance"]) == (0, 0, 0)
    assert start["gold"] == pytest.approx(fmean(i % 7 for i in range(PROMPTS)))
    # The proxy in standard deviations of its scores at the start, 2·d further on.
    assert last["proxy_gain"] == pytest.approx(8 / stdev(i % 5 for i in range(PROMPTS)))
    half = 1.959964 * stdev(i % 7 for i in range(PROMPTS)) / math.sqrt(PROMPTS)
    assert last["gold"] - last["gold_low"] == pytest.approx(half, rel=1e-5)
    fit = found["fit"]
    assert (fit["alpha"], fit["beta"], fit["r2"]) == pytest.approx((2.0, 0.8, 1.0), abs=1e-6)
    assert fit["peak_distance"] == pytest.approx(math.exp(2 / 0.8 - 1))
    assert fit["beyond"] is True, "nothing was measured beyond d = 4"
    assert fit["alpha_se"] == pytest.approx(0, abs=1e-6), "the gain is the same for each prompt"


def test_errors_come_from_the_prompts() -> None:
    noisy = samples(2.0, 0.8)
    noise = torch.randn(len(noisy), generator=torch.Generator().manual_seed(1)).tolist()
    for sample, more in zip(noisy, noise, strict=True):
        sample["gold"] += more if sample["step"] else 0.0
    track = of_samples("p", "ppo", noisy)
    assert track is not None
    fit = track.fit(seed=1)
    assert fit is not None and fit == track.fit(seed=1)
    assert 0.02 < fit["alpha_se"] < 0.5 and 0.02 < fit["beta_se"] < 0.5
    assert abs(fit["alpha"] - 2.0) < 4 * fit["alpha_se"]


def test_only_prompts_with_all_numbers_at_every_step_count() -> None:
    broken = samples(2.0, 0.8)
    broken[3]["gold"] = None
    del broken[-1]["kl"]
    track = of_samples("p", "ppo", broken)
    assert track is not None and track.gold.shape == (9, PROMPTS - 2)
    assert of_samples("p", "ppo", [dict(sample, gold=None) for sample in broken]) is None
    assert of_samples("p", "ppo", []) is None


def test_best_of_n_is_the_mean_over_all_subsets() -> None:
    rewards = [[0.3, -1.0, 2.0, 0.5, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]]
    scores = [[1.0, 9.0, 3.0, 7.0, 2.0], [0.0, 10.0, 5.0, 5.0, 5.0]]
    track = of_best_of_n("p", rewards, scores)
    assert track.at == (1, 2, 4, 5)
    for place, k in enumerate(track.at):
        for i, pairs in enumerate(zip(rewards, scores, strict=True)):
            best = [max(subset) for subset in combinations(zip(*pairs, strict=True), k)]
            assert float(track.proxy[place, i]) == pytest.approx(fmean(pair[0] for pair in best))
            assert float(track.gold[place, i]) == pytest.approx(fmean(pair[1] for pair in best))
        assert float(track.kl[place, 0]) == pytest.approx(best_of_bound(k))
    assert track.spread == pytest.approx(stdev([*rewards[0], *rewards[1]]))


def test_equal_rewards_are_equally_likely_to_be_picked() -> None:
    _, gold = best_of_means([[1.0, 1.0]], [[0.0, 10.0]], [1, 2])
    assert gold == [[5.0], [5.0]]


def test_a_law_is_not_drawn_through_two_points() -> None:
    kl = torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 4.0]])
    assert Track("p", "ppo", (0, 1, 2), kl, kl, kl, 1.0).fit(seed=1) is None
