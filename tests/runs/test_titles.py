"""Titles say what was trained or compared; ids and paths are not in them."""

from __future__ import annotations

import pytest

from rlhf.runs import Summary
from rlhf.runs.titles import MAX_PARTS, brief, comparison_title, run_title, shown, subject, versus_title


def summary(*overrides: str, algo: str = "ppo", seed: int = 1) -> Summary:
    return Summary(id="0123abcd", algo=algo, model="tiny", data="assistant", seed=seed, overrides=list(overrides))


def test_a_run_is_titled_by_what_was_typed() -> None:
    typed = ["algo=ppo", "model=tiny", "algo.kl_coef=0.1", "logger=csv", "strategy.threads=1", "resume=true"]
    typed += ["hydra.run.dir=/x/2026-11-24_15-48-35-eaefd892", "model.init=/x/2026-11-24_15-48-35-eaefd892"]
    assert run_title(summary(*typed)) == "ppo · tiny on assistant · kl_coef=0.1"
    assert run_title(summary("algo.kl_coef=0.1", "seed=2", "algo.kl_coef=0.2")).endswith("· kl_coef=0.2 · seed=2")
    assert run_title(summary("data.path=/x/pairs.jsonl")).endswith("· data.path=pairs.jsonl")


def test_a_title_stays_short() -> None:
    many = [f"algo.key{i}={i}" for i in range(MAX_PARTS + 3)]
    assert run_title(summary(*many)).split(" · ")[2:] == ["key0=0", "key1=1", "key2=2", "key3=3", "3 more"]
    values = {"algo.kl_coef": [i / 10 for i in range(1, 9)]}
    assert comparison_title([summary()], values).endswith("· kl_coef=0.1 … 0.8 (8)")
    names = [f"m{i}" for i in range(20)]
    assert versus_title(names, ["tiny"], "assistant").endswith("m7 vs 12 more · tiny on assistant")


def test_several_runs_are_titled_by_what_differs() -> None:
    runs = [summary(seed=seed) for seed in (2, 1)]
    title = comparison_title(runs, {"algo.kl_coef": [0.1, 0.2], "seed": [1, 2], "model": ["tiny"]})
    assert title == "ppo · tiny on assistant · kl_coef=0.1, 0.2 · seed=1, 2"
    assert comparison_title([summary(algo="sft"), summary()], {}) == "sft, ppo · tiny on assistant"


def test_an_evaluation_is_titled_by_its_models() -> None:
    assert versus_title(["sft", "ppo"], ["tiny", "tiny", ""], "assistant") == "sft vs ppo · tiny on assistant"
    assert versus_title(["sft"], [], "") == "sft"


@pytest.mark.parametrize(("models", "data", "title"), [([], ["a"], "a"), (["m"], [""], "m"), (["m", "n"], [], "m, n")])
def test_what_is_not_known_is_left_out(models: list[str], data: list[str], title: str) -> None:
    assert subject(models, data) == title


def test_nothing_known() -> None:
    assert run_title(Summary()) == comparison_title([], {}) == ""


def test_short_values() -> None:
    assert shown("/x/outputs/sft/tiny/2026-11-24_15-48-35-eaefd892") == "eaefd892"
    assert shown("/x/file.jsonl") == "file.jsonl" and shown(1e-4) == "0.0001" and shown(None) == "null"
    assert shown(["val/score", "val/kl"]) == "score,kl"
    assert brief("algo.kl_coef") == "kl_coef" and brief("data.seed") == "data.seed"
