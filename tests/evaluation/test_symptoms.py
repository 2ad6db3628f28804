from __future__ import annotations

import math
import re
from typing import Any

import pytest

from rlhf.config import algorithms
from rlhf.evaluation.diversity import commonest_share, self_bleu
from rlhf.evaluation.symptoms import symptoms
from rlhf.reporting.remedies import REMEDIES, has_key, remedies
from rlhf.reporting.sentences import LANGUAGES, REASONS, TITLES, describe

Rows = list[dict[str, float]]


def rows(**columns: list[float]) -> Rows:
    """A table with a row every ten steps; `__` in a name stands for `/`."""
    n = len(next(iter(columns.values())))
    return [{"step": 10.0 * i} | {k.replace("__", "/"): v[i] for k, v in columns.items()} for i in range(n)]


def samples(*texts: list[str], **columns: list[list[float]]) -> list[dict[str, Any]]:
    """One list of answers an evaluation, all to the same prompts."""
    return [
        {"step": 10 * i, "prompt": [["user", f"q{j}"]], "response": text, "tokens": len(text.split())}
        | {name: values[i][j] for name, values in columns.items()}
        for i, group in enumerate(texts)
        for j, text in enumerate(group)
    ]


VARIED = [f"answer {'abcdefgh'[i]} has word{i} and more{i} to{i} say{i}" for i in range(8)]
GROWING = rows(val__score=[0, 1, 2], val__length=[10, 14, 20], val__kl=[0, 5, 9.9], val__entropy=[1, 0.5, 0.1])


def codes(*args: Any) -> list[tuple[str, int | None]]:
    return [(finding.code, finding.step) for finding in symptoms(*args)]


def test_a_healthy_run_has_none() -> None:
    table = rows(
        val__score=[0, 1, 2],
        val__length=[10, 11, 12],
        val__kl=[0, 2, 3],
        val__entropy=[1, 0.5, 0.1],
        value__explained_variance=[-0.2, 0.3, 0.7],
    )
    assert codes(table, samples(VARIED, VARIED)) == []


def test_a_score_that_rises_with_the_length() -> None:
    assert codes(GROWING) == [("length", 20)]
    falling = rows(val__score=[2, 1, 0], val__length=[10, 14, 20])
    assert codes(falling) == []


def test_a_score_that_rises_with_the_kl() -> None:
    assert codes(rows(val__score=[0, 1, 2], val__kl=[0, 12, 15])) == [("kl", 10)]
    assert codes(rows(val__margin=[0, 1]), samples(VARIED, VARIED, kl=[[0.0] * 8, [9.0, 12.0] * 4])) == [("kl", 10)]


def test_longer_answers_that_are_better_are_no_hack() -> None:
    answers = samples(VARIED, VARIED, gold=[[3.0] * 8, [8.0] * 8])
    assert codes(GROWING, answers) == []
    assert codes(GROWING, samples(VARIED, VARIED, gold=[[8.0] * 8, [3.0] * 8])) == [("length", 20)]


def test_sampled_lengths_stand_in_where_there_is_no_column() -> None:
    longer = [f"{text} {text}" for text in VARIED]
    table = rows(val__margin=[0, 1])
    assert codes(table, samples(VARIED, longer)) == [("length", 10)]
    # Twice as long on average, but by one answer of eight: that may be chance.
    assert codes(table, samples(VARIED, [*VARIED[:7], " ".join(f"w{i}" for i in range(80))])) == []


def test_over_optimisation_sets_in_at_the_peak_of_gold() -> None:
    gold = [[4.0] * 8, [8.0, 7.0] * 4, [2.0, 3.0] * 4]
    reward = [[0.0] * 8, [1.0] * 8, [2.0] * 8]
    found = symptoms([], samples(VARIED, VARIED, VARIED, gold=gold, score=reward))
    assert [(f.code, f.step) for f in found] == [("over_optimised", 10)]
    assert found[0].numbers["gold_from"] == 7.5
    assert found[0].numbers["gold_to"] == 2.5


def test_a_reward_that_opposes_gold_from_the_start() -> None:
    gold, reward = [[8.0, 7.0] * 4, [2.0, 3.0] * 4], [[0.0] * 8, [1.0] * 8]
    assert codes([], samples(VARIED, VARIED, gold=gold, score=reward)) == [("opposed", 0)]


@pytest.mark.parametrize(
    ("gold", "reward"),
    [
        ([[4.0] * 8, [8.0, 7.0] * 4, [2.0, 3.0] * 4], [[0.0] * 8, [1.0] * 8, [0.5] * 8]),  # the reward falls too
        ([[4.0] * 8, [8.0] * 8, [8.0] * 7 + [7.0]], [[0.0] * 8, [1.0] * 8, [2.0] * 8]),  # one prompt of eight
        ([[4.0] * 8, [6.0] * 8, [8.0] * 8], [[0.0] * 8, [1.0] * 8, [2.0] * 8]),  # gold rises to the end
    ],
)
def test_no_over_optimisation(gold: list[list[float]], reward: list[list[float]]) -> None:
    assert codes([], samples(VARIED, VARIED, VARIED, gold=gold, score=reward)) == []


def test_one_answer_for_everything() -> None:
    assert codes([], samples(VARIED, ["the same"] * 4 + VARIED[:4])) == [("same_answer", 10)]
    alike = [f"I can not help you with that thing at all, friend {i % 3}" for i in range(8)]
    assert codes([], samples(VARIED, alike)) == [("self_bleu", 10)]


def test_entropy_that_is_gone() -> None:
    assert codes(rows(policy__entropy=[1.0, 0.04, 0.04])) == [("entropy", 10)]


def test_forgetting_is_relative_to_the_start() -> None:
    assert codes(rows(val__loss=[2, 1]), (), {"forgetting": 0.2, "forgetting_from": 1.0}) == [("bits", 10)]
    assert codes(rows(val__loss=[2, 1]), (), {"forgetting": 0.2, "forgetting_from": 3.0}) == []


def test_a_critic_must_do_better_than_the_mean_in_the_second_half() -> None:
    assert codes(rows(value__explained_variance=[-1, -1, 0.1, -0.2])) == [("critic", 30)]
    assert codes(rows(value__explained_variance=[-1, -1, 0.1, 0.2])) == []


def test_a_reward_model_near_chance() -> None:
    columns = {"val__accuracy": [0.5, 0.56], "val__accuracy_high": [0.6, 0.64], "val__prompts": [99.0, 99.0]}
    assert codes(rows(val__accuracy_low=[0.4, 0.46], **columns)) == [("chance", 10)]
    assert codes(rows(val__accuracy_low=[0.4, 0.51], **columns)) == []
    # Where most labels of steps are the same, half of them is less than nothing.
    steps = rows(val__accuracy_low=[0.4, 0.51], val__commoner_share=[0.7, 0.7], **columns)
    assert codes(steps) == [("chance_steps", 10)] and describe(symptoms(steps, [])[0])[1].count("70.0%") == 1
    assert codes(rows(val__accuracy_low=[0.4, 0.51], val__commoner_share=[0.5, 0.5], **columns)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_finding_has_words(language: str) -> None:
    assert REASONS.keys() == REMEDIES.keys()
    table = rows(
        val__score=[0, 1, 2, 3],
        val__length=[10, 14, 20, 30],
        val__kl=[0, 20, 20, 20],
        val__entropy=[1, 0.5, 0.1, 0.01],
        value__explained_variance=[-1, -1, -1, -1],
        val__accuracy=[0.5] * 4,
        val__accuracy_low=[0.4] * 4,
        val__accuracy_high=[0.6] * 4,
    )
    gold = {"gold": [[9.0] * 8, [1.0] * 8], "score": [[1.0] * 8, [2.0] * 8]}
    alike = [f"I can not help you with that thing at all, friend {i % 3}" for i in range(8)]
    found = symptoms(table, samples(VARIED, ["same"] * 8, **gold), {"forgetting": 1, "forgetting_from": 1})
    found += symptoms([], samples(VARIED, alike))
    assert {finding.symptom for finding in found} == TITLES.keys()
    for finding in found:
        assert all(text and "{" not in text for text in describe(finding, language))


def test_self_bleu() -> None:
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(1.0)
    # No word is shared: every precision is ½ of one n-gram: (½/2 · ½/1)^½.
    assert self_bleu(["a b", "c d"]) == pytest.approx(math.sqrt(0.25 * 0.5))
    # By hand: unigrams 2/3, bigrams 1/2, trigrams ½/1 (none, counted as ½).
    assert self_bleu(["a b c", "a b d"]) == pytest.approx((2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3))
    assert self_bleu(["only one"]) is None


def test_commonest_share() -> None:
    assert commonest_share(["a", " a", "b", "c"]) == 0.5
    assert commonest_share([]) is None


KEY = re.compile(r"\b(?:algo|train|data|reward|rollout)\.\w+")


@pytest.mark.parametrize("algo", [name for name, cls in algorithms().items() if cls.answers()])
def test_remedies_name_keys_that_the_run_has(algo: str) -> None:
    cls = algorithms()[algo]
    for code in REMEDIES:
        for english, chinese in remedies(code, algo):
            assert sorted(KEY.findall(english)) == sorted(KEY.findall(chinese))
            assert all(has_key(cls, key) for key in KEY.findall(english)), english
    assert all(remedies(code, algo) for code in ("length", "same_answer", "bits", "entropy")), "there is always one"


def test_remedies_of_some_algorithms() -> None:
    """What is told to a run, and what would only be an unknown key to it."""

    def named(code: str, algo: str = "") -> set[str]:
        return set(KEY.findall(" ".join(english for english, _ in remedies(code, algo))))

    assert {"reward.length_penalty", "reward.combine", "algo.kl_coef"} <= named("length", "ppo")
    assert "algo.beta" not in named("length", "ppo") and "algo.entropy_coef" in named("same_answer", "grpo")
    assert {"algo.beta", "algo.ld_alpha"} <= named("length", "dpo") and "algo.kl_coef" not in named("length", "dpo")
    assert "algo.beta" not in named("length", "simpo"), "its beta is no price of KL"
    assert "algo.ptx_coef" in named("bits", "rloo") and "algo.ptx_coef" not in named("bits", "kto")
    assert "train.epochs" in named("bits", "sft") and "train.epochs" not in named("bits", "rloo")
    assert {"algo.beta", "algo.kl_coef"} <= named("length"), "all, where the algorithm is not known"
    found = symptoms(GROWING, algo="ppo")
    assert found[0].algo == "ppo" and "reward.length_penalty" in describe(found[0])[2]
