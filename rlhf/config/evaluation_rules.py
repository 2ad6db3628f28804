"""Refusals of an evaluation: who can judge what, and how an endpoint may be named."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rlhf.config.evaluation import EndpointConfig, EvaluateSettings
from rlhf.config.paths import check_exists
from rlhf.config.sections import DataConfig
from rlhf.errors import ConfigError

VARIABLE = r"[A-Z_][A-Z0-9_]*"


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
    _endpoint(settings)
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
        raise ConfigError("evaluation.ensemble: a member stands twice in it, and would agree with itself")
    if not members and settings.judge == "ensemble":
        raise ConfigError("evaluation.judge: ensemble needs members; pass 'evaluation.ensemble=[RUN,RUN]'")
    if members and settings.judge == "reward":
        raise ConfigError(
            "evaluation.judge: reward is a single model, and evaluation.ensemble takes its place; "
            "pass evaluation.judge=ensemble"
        )
    if members and settings.reward_model not in (None, "auto"):
        raise ConfigError(
            f"evaluation.reward_model: {settings.reward_model} would not be read beside evaluation.ensemble; "
            "list it there, or leave one of the two out"
        )


def _endpoint(settings: EvaluateSettings) -> None:
    endpoint = settings.endpoint
    if settings.judge == "endpoint":
        for name, value in (("url", endpoint.url), ("model", endpoint.model)):
            if not value:
                raise ConfigError(
                    f"evaluation.endpoint.{name}: missing; evaluation.judge=endpoint needs evaluation.endpoint.url=URL "
                    "evaluation.endpoint.model=NAME"
                )
    if endpoint.key_env is not None and not re.fullmatch(VARIABLE, endpoint.key_env):
        # What stands there may be the key itself, so it is not repeated.
        raise ConfigError(
            "evaluation.endpoint.key_env: is not the name of an environment variable (capitals, digits and _); "
            "put the key into a variable, and its name here"
        )
    if endpoint.url is not None:
        _url(endpoint.url)
        if endpoint.key_env is not None:
            _nowhere_else(endpoint, api_key(endpoint.key_env))
    if endpoint.max_cost is not None and endpoint.price_in is None and endpoint.price_out is None:
        raise ConfigError(
            "evaluation.endpoint.max_cost: needs evaluation.endpoint.price_in and price_out, or no cost is known"
        )
    if endpoint.prompts is not None and not Path(endpoint.prompts).is_dir():
        raise ConfigError(f"evaluation.endpoint.prompts: {endpoint.prompts} is not a folder")


def _nowhere_else(endpoint: EndpointConfig, key: str) -> None:
    """What stands in the configuration is kept in runs and sent to W&B."""
    for name in ("url", "model", "extra", "cache", "prompts"):
        said = str(getattr(endpoint, name))
        if key in said or key in unquote(said):
            raise ConfigError(
                f"evaluation.endpoint.{name}: holds the key itself, which runs would store; the variable "
                f"{endpoint.key_env} is enough"
            )


def _url(url: str) -> None:
    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise ConfigError("evaluation.endpoint.url: can't be read; it looks like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # config.yaml would keep what stands there, and the log would show it.
        raise ConfigError(
            "evaluation.endpoint.url: must not hold a name, a password or parameters, since runs store it; "
            "a key belongs into the environment variable that evaluation.endpoint.key_env names"
        )


def api_key(variable: str) -> str:
    """The key in an environment variable.

    Raises:
        ConfigError: it is not set, or can't be sent; the message does not hold it.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"evaluation.endpoint.key_env: the environment variable {variable} is not set, or empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"evaluation.endpoint.key_env: what {variable} holds can't be a key: it has spaces or special characters"
        )
    return key


def _harness(settings: EvaluateSettings) -> None:
    if settings.harness and find_spec("lm_eval") is None:
        raise ConfigError(
            f"evaluation.harness: {', '.join(settings.harness)} need lm-evaluation-harness, which is not installed "
            "here; pip install -e '.[harness]'"
        )
    if settings.harness_path is not None and not Path(settings.harness_path).is_dir():
        raise ConfigError(f"evaluation.harness_path: {settings.harness_path} is not a folder")
