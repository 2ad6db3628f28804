"""What the section `reward` refuses: each sentence begins with its key."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.config import (
    DataConfig,
    ModelConfig,
    PPOConfig,
    ScoringConfig,
    SFTConfig,
    TrainConfig,
    reward_models,
    validate,
)
from rlhf.config.endpoint import ServerConfig
from rlhf.config.scoring import SHIPPED
from rlhf.errors import ConfigError

SERVER = ServerConfig(url="http://localhost:8000/v1", model="judge")


def config(algo: Any = None, fields: dict[str, str] | None = None, **reward: Any) -> TrainConfig:
    model = ModelConfig(tokenizer="tiny", architecture={"model_type": "gpt2", "n_positions": 1024})
    return TrainConfig(
        algo=algo or PPOConfig(), model=model, data=DataConfig(fields=fields or {}), reward=ScoringConfig(**reward)
    )


@pytest.mark.parametrize(
    ("algo", "reward", "key"),
    [
        ({}, {"sources": []}, "reward.sources: empty"),
        ({}, {"sources": ["modell"]}, "reward.sources: 'modell'.*did you mean model"),
        ({}, {"sources": ["a b:c"]}, "reward.sources: 'a b:c'"),
        ({}, {"sources": ["model", "m:judge", "judge"], "endpoint": SERVER}, "reward.sources: two sources.*judge"),
        ({}, {"weights": {"modle": 2.0}}, "reward.weights: modle.*did you mean model"),
        ({}, {"weights": {"model": float("inf")}}, "reward.weights.model: inf"),
        ({}, {"arguments": {"model": {}}}, "reward.arguments: model is not a function"),
        ({}, {"sources": ["m:f"], "arguments": {"f": 3}}, "reward.arguments.f: 3 is not a mapping"),
        ({}, {"sources": ["numeric_match"]}, "data.fields: reward.sources=numeric_match.*answer"),
        ({}, {"combine": "min"}, "reward.combine: min would do nothing"),
        ({}, {"combine": "max"}, "reward.combine: 'max' is not one of"),
        ({}, {"combine_coef": -1.0}, "reward.combine_coef: -1 is out of range"),
        ({}, {"diversity_bonus": 0.5}, "reward.diversity_bonus: 0.5 compares samples"),
        ({}, {"sources": ["judge"]}, "reward.endpoint.url: missing"),
        ({}, {"endpoint": SERVER}, "reward.endpoint.url: .*would not be asked"),
        ({}, {"sources": ["judge"], "endpoint": ServerConfig("x", "y")}, "reward.endpoint.url: can't be read"),
        ({"reward_model": "RUN"}, {"sources": ["m:f"]}, "algo.reward_model: RUN "),
        ({"reward_model": ["a", "a"]}, {}, "algo.reward_model: a member"),
        ({"reward_model": ["a", "auto"]}, {}, "algo.reward_model: auto finds a single"),
        ({"reward_model": []}, {}, r"algo.reward_model: \[\]"),
        ({"reward_model": 3}, {}, "algo.reward_model: 3"),
    ],
)  # fmt: skip
def test_refused(algo: dict[str, Any], reward: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}"):
        validate(config(PPOConfig(**algo), **reward))


@pytest.mark.parametrize(
    ("algo", "reward"),
    [
        ({"reward_model": ["a", "b"]}, {"combine": "variance", "combine_coef": 0.5}),
        ({}, {"sources": ["model", "length_band", "my.module:f", "x/file.py:g"], "weights": {"f": -1.0, "g": 0.1}}),
        ({}, {"sources": ["numeric_match"]}),
        ({}, {"sources": ["judge"], "endpoint": SERVER}),
        ({"samples_per_prompt": 2}, {"diversity_bonus": 0.5}),
    ],
)  # fmt: skip
def test_allowed(algo: dict[str, Any], reward: dict[str, Any]) -> None:
    validate(config(PPOConfig(**algo), {"answer": "solution"}, **reward))


def test_algorithms_that_nothing_scores_do_not_ask() -> None:
    validate(config(SFTConfig(), sources=["numeric_match"]))


def test_one_or_several() -> None:
    assert reward_models("auto") == ["auto"] and reward_models(["a", "b"]) == ["a", "b"]


def test_shipped_functions_are_there_and_read_those_fields() -> None:
    from rlhf.rewards.calls import ScoreFunction

    arguments: dict[str, Any] = {"regex_match": {"pattern": "a"}}
    for name, fields in SHIPPED.items():
        ScoreFunction(name, arguments.get(name, {}), fields)
        for field in fields:
            with pytest.raises(ConfigError, match=f"needs {field}"):
                ScoreFunction(name, {}, [other for other in fields if other != field])
