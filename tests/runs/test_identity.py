from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from rlhf.config import DataConfig, ExportConfig, ModelConfig, PPOConfig, StrategyConfig, TrainConfig
from rlhf.runs import run_id
from rlhf.runs.identity import differing_keys


def content(**changes: Any) -> dict[str, Any]:
    return dataclasses.asdict(dataclasses.replace(TrainConfig(algo=PPOConfig()), **changes))


BASE = run_id(content(), {})


def test_eight_hex_digits_that_do_not_depend_on_the_order_of_keys() -> None:
    assert re.fullmatch("[0-9a-f]{8}", BASE)
    shuffled = dict(reversed(content().items()))
    shuffled["algo"] = dict(reversed(shuffled["algo"].items()))
    assert run_id(shuffled, {}) == BASE


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"algo": PPOConfig(kl_coef=0.06)},
        {"data": DataConfig(seed=2)},
        {"data": DataConfig(path="other/name")},
        {"model": ModelConfig(name="other")},
    ],
)
def test_what_changes_the_result_changes_the_id(changes: dict[str, Any]) -> None:
    assert run_id(content(**changes), {}) != BASE


@pytest.mark.parametrize("changes", [{"resume": True}, {"strategy": StrategyConfig(devices=4, layout="ddp")}])
def test_what_does_not_change_the_result_does_not_change_the_id(changes: dict[str, Any]) -> None:
    assert run_id(content(**changes), {}) == BASE


def test_files_and_weights_count_by_content() -> None:
    def id_of(path: str, init: str, digest: str) -> str:
        config = content(data=DataConfig(path=path), model=ModelConfig(init=init))
        return run_id(config, {"data.path": digest, "model.init": "w"})

    assert id_of("a.jsonl", "run/1", "h1") == id_of("moved/b.jsonl", "auto", "h1")
    assert id_of("a.jsonl", "run/1", "h1") != id_of("a.jsonl", "run/1", "h2")
    assert run_id(content(), {"algo.reward_model": "x"}) != run_id(content(), {"algo.reward_model": "y"})


def test_a_configuration_is_not_changed_by_asking() -> None:
    config = content(data=DataConfig(path="a.jsonl"))
    run_id(config, {"data.path": "h"})
    assert config["data"]["path"] == "a.jsonl" and "strategy" in config


def test_what_differs_is_named_by_key() -> None:
    assert differing_keys(content(), content(resume=True, strategy=StrategyConfig(devices=2))) == []
    other = content(seed=2, algo=PPOConfig(kl_coef=0.9, lam=1.0))
    assert differing_keys(content(), other) == ["algo.kl_coef", "algo.lam", "seed"]
    assert differing_keys({"algo": {"beta": 1}}, {"algo": {}}) == ["algo.beta"]


def test_keys_that_came_later_count_only_where_they_are_set() -> None:
    later = ("adapter", "quantize", "lora_r", "lora_alpha", "lora_targets")
    old = content()
    for name in later:
        del old["model"][name]
    assert run_id(old, {}) == BASE
    assert differing_keys(old, content()) == []
    lora = content(model=ModelConfig(adapter="lora"))
    assert run_id(lora, {}) != BASE
    assert differing_keys(old, lora) == ["model.adapter", "model.lora_alpha", "model.lora_r", "model.lora_targets"]
    assert run_id(content(model=ModelConfig(adapter="lora", lora_r=8)), {}) != run_id(lora, {})
    assert run_id(content(model=ModelConfig(adapter="lora", quantize="4bit")), {}) != run_id(lora, {})


def test_a_young_section_counts_where_it_is_set() -> None:
    """Ids of runs, and their stored configurations, are older than `export`."""
    old = {name: value for name, value in content().items() if name != "export"}
    assert run_id(old, {}) == BASE
    assert differing_keys(content(), old) == differing_keys(old, content()) == []
    wide = content(export=ExportConfig(dtype="float32"))
    assert run_id(wide, {}) != BASE
    assert differing_keys(wide, old) == ["export.dtype"]
