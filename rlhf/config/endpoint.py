"""A judge behind an OpenAI-compatible chat endpoint, and how it may be named."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rlhf.config.keys import key
from rlhf.errors import ConfigError

VARIABLE = r"[A-Z_][A-Z0-9_]*"
STORED = ("url", "model", "extra", "cache", "prompts")
"""Keys of a server whose values runs store."""


@dataclass
class ServerConfig:
    """A judge behind an OpenAI-compatible chat endpoint: a service, or vLLM or llama.cpp on this machine."""

    url: str | None = key(None, "address without /chat/completions, such as http://localhost:8000/v1")
    model: str | None = key(None, "the judge's name, as the server knows it")
    key_env: str | None = key(
        None, "name of the environment variable that holds the API key, such as OPENAI_API_KEY; null: none is sent"
    )
    temperature: float = key(0.0, "sampling temperature of the judge", ge=0, le=2)
    max_tokens: int = key(256, "longest reply; one that writes its reasoning needs more", ge=16, unit="tokens")
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
    if server.key_env is not None:
        check_variable(f"{section}.key_env", server.key_env)
    if server.url is not None:
        check_url(f"{section}.url", server.url, "http://localhost:8000/v1", f"{section}.key_env")
        if server.key_env is not None:
            named = {f"{section}.{name}": str(getattr(server, name)) for name in STORED}
            check_nowhere_else(named, server.key_env, api_key(section, server.key_env))
    if server.max_cost is not None and server.price_in is None and server.price_out is None:
        raise ConfigError(f"{section}.max_cost: needs {section}.price_in and price_out, or no cost is known")
    if server.prompts is not None and not Path(server.prompts).is_dir():
        raise ConfigError(f"{section}.prompts: {server.prompts} is not a folder")


def check_variable(name: str, variable: str) -> None:
    """Raises:
    ConfigError: `variable`, the value of the key `name`, can't be an environment variable's name.
    """
    if not re.fullmatch(VARIABLE, variable):
        # What stands there may be the key itself, so it is not repeated.
        raise ConfigError(
            f"{name}: is not the name of an environment variable (capitals, digits and _); "
            "put the key into a variable, and its name here"
        )


def check_nowhere_else(said: Mapping[str, str], variable: str, key: str) -> None:
    """What stands in the configuration is kept in runs and sent to W&B.

    Args:
        said: values by the names of their keys.

    Raises:
        ConfigError: one holds the secret that `variable` holds.
    """
    for name, value in said.items():
        if key in value or key in unquote(value):
            raise ConfigError(
                f"{name}: holds the key itself, which runs would store; the variable {variable} is enough"
            )


def check_url(name: str, url: str, example: str, key_env: str) -> None:
    """Raises:
    ConfigError: the value of the key `name` is no address, or holds more than one; `key_env` is the key for that.
    """
    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise ConfigError(f"{name}: can't be read; it looks like {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        # config.yaml would keep what stands there, and the log would show it.
        raise ConfigError(
            f"{name}: must not hold a name, a password or parameters, since runs store it; "
            f"a key belongs into the environment variable that {key_env} names"
        )


def api_key(section: str, variable: str) -> str:
    """The key in an environment variable.

    Args:
        section: where `key_env` stands; empty: at the top.

    Raises:
        ConfigError: it is not set, or can't be sent; the message does not hold it.
    """
    name, key = f"{section}.key_env" if section else "key_env", os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{name}: the environment variable {variable} is not set, or empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{name}: what {variable} holds can't be a key: it has spaces or special characters")
    return key
