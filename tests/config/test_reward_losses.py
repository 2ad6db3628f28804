"""Options of the reward model that exclude each other are refused, and don't make old runs other experiments."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.config import RewardConfig, TrainConfig, plain
from rlhf.config.algorithms.kto import KTOConfig
from rlhf.errors import ConfigError
from rlhf.runs.identity import differing_keys


@pytest.mark.parametrize(("name", "value"), [("margin_coef", 1.0), ("label_smoothing", 0.1), ("center_coef", 0.01)])
def test_options_of_pairs_are_refused_for_whole_rankings(name: str, value: float) -> None:
    algo: Any = RewardConfig(loss="plackett_luce", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"^algo\.{name}: {value:g}"):
        algo.rules(TrainConfig())
    RewardConfig(**{name: value}).rules(TrainConfig())  # type: ignore[arg-type]


def test_kto_needs_a_weight() -> None:
    with pytest.raises(ConfigError, match=r"^algo\.desirable_weight:"):
        KTOConfig(desirable_weight=0.0, undesirable_weight=0.0).rules(TrainConfig())


def test_a_run_of_before_is_the_same_experiment() -> None:
    before = plain(TrainConfig(algo=RewardConfig()))
    for name in ("loss", "margin_coef", "label_smoothing", "center_coef"):
        del before["algo"][name]
    assert differing_keys(plain(TrainConfig(algo=RewardConfig())), before) == []
    assert differing_keys(plain(TrainConfig(algo=RewardConfig(label_smoothing=0.1))), before) == [
        "algo.label_smoothing"
    ]
