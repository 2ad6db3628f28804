"""Refusals of an evaluation: who can judge what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rlhf.config.endpoint import check_server
from rlhf.config.paths import check_exists
from rlhf.config.sections import SAFE_NAME, DataConfig
from rlhf.config.verbs.evaluation import EvaluateSettings
from rlhf.errors import ConfigError, nearest

MIN_SIZES = 8
"""Best of 1, 2, 4 and 8: a law of two coefficients needs three places away from the start."""


def check_evaluation(settings: EvaluateSettings, data: DataConfig) -> None:
    """Raises:
    ConfigError: the first thing that is wrong.
    """
    if settings.judge == "gold" and data.source != "assistant":
        raise ConfigError(
            f"evaluation.judge: gold judges the embedded task only, and this is data={data.name}; "
            "pass evaluation.judge=reward, endpoint or none"
        )
    _ensemble(settings)
    _overoptimisation(settings, data)
    asked = "evaluation.judge=endpoint" if settings.judge == "endpoint" else None
    check_server("evaluation.endpoint", settings.endpoint, asked)
    _harness(settings)
    for name, path in (("text", settings.text), ("reward_bench", settings.reward_bench)):
        if path is not None:
            check_exists(f"evaluation.{name}", path)


def _ensemble(settings: EvaluateSettings) -> None:
    members = settings.ensemble
    if len(members) == 1:
        raise ConfigError(
            "evaluation.ensemble: has one member and needs two or more; for a single one pass "
            "evaluation.reward_model=RUN"
        )
    if len(set(members)) < len(members):
        raise ConfigError("evaluation.ensemble: a member is listed twice, and would agree with itself")
    if not members and settings.judge == "ensemble":
        raise ConfigError("evaluation.judge: ensemble needs members; pass 'evaluation.ensemble=[RUN,RUN]'")
    if members and settings.judge == "reward":
        raise ConfigError(
            "evaluation.judge: reward is a single model, and evaluation.ensemble takes its place; "
            "pass evaluation.judge=ensemble"
        )
    if members and settings.reward_model not in (None, "auto"):
        raise ConfigError(
            f"evaluation.reward_model: {settings.reward_model} would not be used with evaluation.ensemble; "
            "list it there, or leave one of the two out"
        )


def _overoptimisation(settings: EvaluateSettings, data: DataConfig) -> None:
    """Proxies are measured by something better than them, which has to be there."""
    for section in ("proxies", "policies"):
        for name, given in getattr(settings, section).items():
            if re.fullmatch(SAFE_NAME, name) is None:
                raise ConfigError(f"evaluation.{section}.{name}: use letters, digits, '.', '_' and '-' in a name")
            if not isinstance(given, str) or given == "auto":
                raise ConfigError(f"evaluation.{section}.{name}: {given!r} is no run directory or model folder")
    if not settings.proxies and not settings.policies:
        return
    if settings.judge in ("none", "endpoint"):
        raise ConfigError(
            f"evaluation.judge: {settings.judge} marks no answers of evaluation.proxies and evaluation.policies; it "
            "must be gold, reward or ensemble"
        )
    gold = settings.judge in ("auto", "gold") and data.source == "assistant"
    if not gold and settings.reward_model in (None, "auto") and not settings.ensemble:
        raise ConfigError(
            f"evaluation.reward_model: {settings.reward_model or 'null'}, and data={data.name} has no judge of its "
            "own to hold evaluation.proxies and evaluation.policies against; pass evaluation.reward_model=RUN, a "
            "reward model that is better than they are"
        )
    members = [*settings.ensemble, settings.reward_model]
    if twice := [name for name, given in settings.proxies.items() if not gold and given in members]:
        raise ConfigError(
            f"evaluation.proxies.{twice[0]}: {settings.proxies[twice[0]]} gives the gold score too, and would agree "
            "with itself"
        )
    if settings.proxies and settings.best_of < MIN_SIZES:
        raise ConfigError(
            f"evaluation.best_of: {settings.best_of} is too few samples to follow evaluation.proxies; pass at least "
            f"{MIN_SIZES}, such as 64"
        )


def check_rounds(settings: EvaluateSettings, models: Sequence[str]) -> None:
    """Raises:
    ConfigError: a round's model is not compared, or nothing says where the rounds began.
    """
    for name, given in settings.rounds.items():
        if name not in models:
            raise ConfigError(
                f"evaluation.rounds.{name}: {name} is not one of the models{nearest(name, models)}; pass "
                f"+models.{name}=RUN too"
            )
        if not isinstance(given, str) or given == "auto":
            raise ConfigError(f"evaluation.rounds.{name}: {given!r} is no run directory or model folder")
    if settings.rounds and settings.reference not in models:
        raise ConfigError(
            f"evaluation.reference: {settings.reference} is not one of the models, and evaluation.rounds begin with "
            "it; pass the name of the model that the rounds began with"
        )


def _harness(settings: EvaluateSettings) -> None:
    if settings.harness and find_spec("lm_eval") is None:
        raise ConfigError(
            f"evaluation.harness: {', '.join(settings.harness)} need lm-evaluation-harness, which is not installed "
            "here; pip install -e '.[harness]'"
        )
    if settings.harness_path is not None and not Path(settings.harness_path).is_dir():
        raise ConfigError(f"evaluation.harness_path: {settings.harness_path} is not a folder")
