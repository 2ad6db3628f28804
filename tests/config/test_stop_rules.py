"""Limits of metrics at which a run ends early."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rlhf.config import LoopConfig, TrainConfig
from rlhf.config.rules.stopping import check_measured, check_stop_rules, check_validated, stop_reason
from rlhf.errors import ConfigError


def config(rules: dict[str, Any]) -> TrainConfig:
    return TrainConfig(train=LoopConfig(stop_at=rules))


@pytest.mark.parametrize(
    "rules",
    [
        {"val/kl": 20},
        {"val/kl": {}},
        {"val/kl": {"above": 20}},
        {"val/kl": {"max": "20"}},
        {"val/kl": {"max": True}},
        {"val/kl": {"max": math.inf}},
        {"val/kl": {"min": 2, "max": 2}},
        {"time/rollout": {"max": 20}},
        {"train/tokens_per_second": {"min": 20}},
        {"train/seconds": {"max": 20}},
    ],
)
def test_a_rule_that_means_nothing_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^train\.stop_at\.{next(iter(rules))}: "):
        check_stop_rules(config(rules))


def test_limits_may_be_reached_and_not_passed() -> None:
    rules = {"val/kl": {"max": 20.0}, "val/score": {"min": -1.0, "max": 5.0}}
    check_stop_rules(config(rules))
    assert stop_reason(rules, {"val/kl": 20.0, "val/score": -1.0}, 3) is None
    assert stop_reason(rules, {"val/loss": 99.0}, 3) is None
    assert stop_reason(rules, {"val/kl": math.nan}, 3) is None
    said = stop_reason(rules, {"val/kl": 20.5}, 3)
    assert said is not None and all(part in said for part in ("step 3", "val/kl", "20.5", "above", "20"))
    assert "below" in str(stop_reason(rules, {"val/score": -1.5}, 3))
    assert "above" in str(stop_reason(rules, {"val/score": 5.5}, 3))


def test_a_metric_that_the_run_lacks_is_told_once_it_is_known() -> None:
    rules = {"val/kll": {"max": 20.0}}
    check_measured(rules, {"objective/kl": 1.0}, held_out=False)
    check_measured(rules, {}, held_out=True)
    with pytest.raises(ConfigError, match=r"^train\.stop_at\.val/kll: .*val/kl"):
        check_measured(rules, {"val/kl": 1.0}, held_out=True)
    with pytest.raises(ConfigError, match=r"^train\.stop_at\.objective/kl: "):
        check_measured({"objective/kl": {"max": 1.0}}, {"train/loss": 1.0}, held_out=False)


def test_a_limit_that_nothing_would_look_at_is_refused() -> None:
    rules = {"train/loss": {"max": 9.0}, "val/kl": {"max": 20.0}}
    check_validated(rules, 1)
    check_validated({"train/loss": {"max": 9.0}}, 0)
    with pytest.raises(ConfigError, match=r"^train\.stop_at\.val/kl: .*data\.val_fraction"):
        check_validated(rules, 0)
    with pytest.raises(ConfigError, match=r"^train\.stop_at\.val/kl: .*train\.val_every"):
        check_stop_rules(TrainConfig(train=LoopConfig(stop_at=rules, val_every=None)))
