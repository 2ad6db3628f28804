"""Refusals of an evaluation: who can judge what."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rlhf.config.endpoint import check_server
from rlhf.config.paths import check_exists
from rlhf.config.sections import DataConfig
from rlhf.config.verbs.evaluation import EvaluateSettings
from rlhf.errors import ConfigError


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


def _harness(settings: EvaluateSettings) -> None:
    if settings.harness and find_spec("lm_eval") is None:
        raise ConfigError(
            f"evaluation.harness: {', '.join(settings.harness)} need lm-evaluation-harness, which is not installed "
            "here; pip install -e '.[harness]'"
        )
    if settings.harness_path is not None and not Path(settings.harness_path).is_dir():
        raise ConfigError(f"evaluation.harness_path: {settings.harness_path} is not a folder")
