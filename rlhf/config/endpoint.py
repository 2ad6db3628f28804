"""A judge behind an OpenAI-compatible chat endpoint, and how it may be named."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rlhf.config.keys import key
from rlhf.errors import ConfigError

VARIABLE = r"[A-Z_][A-Z0-9_]*"


@dataclass
class ServerConfig:
    """A judge behind an OpenAI-compatible chat endpoint: a service, or vLLM or llama.cpp on this machine."""

    url: str | None = key(None, "address without /chat/completions, such as http://localhost:8000/v1")
    model: str | None = key(None, "the judge's name, as the server knows it")
    key_env: str | None = key(
        None, "name of the environment variable that holds the API key, such as OPENAI_API_KEY; null: none is sent"
    )
    temperature: float = key(0.0, "sampling temperature of the judge", ge=0, le=2)
    max_tokens: int = key(256, "longest reply; a judge that writes its reasoning needs more", ge=16, unit="tokens")
    extra: dict[str, Any] = key(
        dict, "more fields of the request, such as {seed: 1}; null takes one out, such as {max_tokens: null}"
    )
    timeout: float = key(60.0, "a call without an answer is repeated after this time", gt=0, unit="seconds")
    retries: int = key(5, "further attempts after 429, 5xx, timeouts and unreadable replies", ge=0)
    backoff: float = key(1.0, "wait before the first further attempt; it doubles each time", ge=0, unit="seconds")
    concurrency: int = key(8, "calls at the same time", ge=1)
    price_in: float | None = key(None, "price of a million input tokens, for the cost estimate", ge=0)
    price_out: float | None = key(None, "price of a million output tokens", ge=0)
    max_cost: float | None = key(None, "stop before the first call if the cost could be higher", ge=0)
    prompts: str | None = key(
        None, "folder of score.txt, compare.txt and again.txt; null: those in rlhf/evaluation/prompts"
    )
    cache: str = key(
        "outputs/.cache/judge", "folder of cached answers, by the hash of the request: no call is paid twice"
    )


def check_server(section: str, server: ServerConfig, asked_by: str | None) -> None:
    """Refuse what can't be asked, and what would store a secret.

    Args:
        section: where the server's keys stand, such as `evaluation.endpoint`.
        asked_by: the override that has it asked; `None`: nothing says that it will be.

    Raises:
        ConfigError: the first thing that is wrong; a key of the server is never repeated in it.
    """
    if asked_by is not None:
        for name, value in (("url", server.url), ("model", server.model)):
            if not value:
                raise ConfigError(f"{section}.{name}: missing; {asked_by} needs {section}.url=URL {section}.model=NAME")
    if server.key_env is not None and not re.fullmatch(VARIABLE, server.key_env):
        # What stands there may be the key itself, so it is not repeated.
        raise ConfigError(
            f"{section}.key_env: is not the name of an environment variable (capitals, digits and _); "
            "put the key into a variable, and its name here"
        )
    if server.url is not None:
        _url(section, server.url)
        if server.key_env is not None:
            _nowhere_else(section, server, api_key(section, server.key_env))
    if server.max_cost is not None and server.price_in is None and server.price_out is None:
        raise ConfigError(f"{section}.max_cost: needs {section}.price_in and price_out, or no cost is known")
    if server.prompts is not None and not Path(server.prompts).is_dir():
        raise ConfigError(f"{section}.prompts: {server.prompts} is not a folder")


def _nowhere_else(section: str, server: ServerConfig, key: str) -> None:
    """What stands in the configuration is kept in runs and sent to W&B."""
    for name in ("url", "model", "extra", "cache", "prompts"):
        said = str(getattr(server, name))
        if key in said or key in unquote(said):
            raise ConfigError(
                f"{section}.{name}: holds the key itself, which runs would store; the variable "
                f"{server.key_env} is enough"
            )


def _url(section: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise ConfigError(f"{section}.url: can't be read; it looks like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # config.yaml would keep what stands there, and the log would show it.
        raise ConfigError(
            f"{section}.url: must not hold a name, a password or parameters, since runs store it; "
            f"a key belongs into the environment variable that {section}.key_env names"
        )


def api_key(section: str, variable: str) -> str:
    """The key in an environment variable.

    Raises:
        ConfigError: it is not set, or can't be sent; the message does not hold it.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{section}.key_env: the environment variable {variable} is not set, or empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"{section}.key_env: what {variable} holds can't be a key: it has spaces or special characters"
        )
    return key
