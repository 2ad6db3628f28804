from __future__ import annotations

import dataclasses
import math

import pytest

from rlhf.config import PPOConfig, TrainConfig, algorithms, keys, lookup
from rlhf.config.keys import KeyInfo


def test_every_field_of_every_schema_is_a_documented_key() -> None:
    names = [key.name for cls in (TrainConfig, *algorithms().values()) for key in keys(cls)]
    assert len(names) > 100
    for cls in (TrainConfig, *algorithms().values()):
        for key in keys(cls):
            assert key.info.help, key.name
            assert not key.info.help.endswith("."), f"{key.name}: comments are not sentences"


def test_every_default_lies_in_its_own_range() -> None:
    for cls in (TrainConfig, *algorithms().values()):
        for key in keys(cls):
            if isinstance(key.default, (int, float, str)) and not (key.info.choices and key.default is None):
                assert key.info.accepts(key.default), key.name


def test_keys_of_an_instance_follow_its_own_algorithm() -> None:
    names = {key.name for key in keys(TrainConfig(algo=PPOConfig()))}
    assert "algo.kl_coef" in names and "train.batch_size" in names and "seed" in names
    assert "algo.kl_coef" not in {key.name for key in keys(TrainConfig())}


def test_stage_names_match_their_classes() -> None:
    assert {name: cls().name for name, cls in algorithms().items()} == {name: name for name in algorithms()}


def test_lookup() -> None:
    assert lookup(TrainConfig(algo=PPOConfig(kl_coef=0.3)), "algo.kl_coef") == 0.3


@pytest.mark.parametrize(
    ("info", "inside", "outside"),
    [
        (KeyInfo("", ge=0), [0, 0.5, 1e9], [-1e-9, math.nan, math.inf]),
        (KeyInfo("", gt=0, lt=1), [0.5], [0, 1, -math.inf]),
        (KeyInfo("", ge=0, le=1), [0, 1], [1.001]),
        (KeyInfo("", choices=("a", "b")), ["a"], ["c", ""]),
        (KeyInfo("", ge=1, choices=("auto",)), ["auto", 1], ["abc", 0]),
    ],
)
def test_ranges(info: KeyInfo, inside: list[float | str], outside: list[float | str]) -> None:
    assert all(info.accepts(value) for value in inside)
    assert not any(info.accepts(value) for value in outside)


def test_words_for_ranges() -> None:
    assert KeyInfo("", ge=0, lt=1).allowed == "≥ 0, < 1"
    assert KeyInfo("", choices=("a", "b")).allowed == "a | b"
    assert KeyInfo("", ge=1, choices=("auto",)).allowed == "auto or ≥ 1"
    assert KeyInfo("", ge=1, unit="tokens").domain == "tokens, ≥ 1"


def test_containers_are_not_shared_between_instances() -> None:
    first, second = TrainConfig(), TrainConfig()
    first.model.architecture["n_embd"] = 8
    first.logger.tags.append("x")
    assert second.model.architecture == {} and second.logger.tags == []
    assert dataclasses.replace(first).model is first.model


@pytest.mark.parametrize(("given", "total", "expected"), [(None, 100, 10), (None, 2, 0), (7, 100, 7), (0, 100, 0)])
def test_warmup(given: int | None, total: int, expected: int) -> None:
    assert PPOConfig(warmup_steps=given).warmup(total) == expected
