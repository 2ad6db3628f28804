"""A model behind a chat endpoint, as the keys of a section name it."""

from __future__ import annotations

from pathlib import Path

from rlhf.config.endpoint import ServerConfig, api_key
from rlhf.errors import ConfigError
from rlhf.evaluation.judges.calls import Cache, Estimate, Prices
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.runs import atomic_write_text


def endpoint_of(section: str, server: ServerConfig) -> Endpoint:
    """The endpoint with its cache; nothing is asked of it yet.

    Args:
        section: where the server's keys stand, such as `evaluation.endpoint`.

    Raises:
        ConfigError: the variable that should hold the key does not.
    """
    assert server.url is not None and server.model is not None
    return Endpoint(
        server.url,
        server.model,
        cache=Cache(Path(server.cache), atomic_write_text, section),
        key=api_key(section, server.key_env) if server.key_env is not None else None,
        max_tokens=server.max_tokens,
        temperature=server.temperature,
        extra=server.extra,
        timeout=server.timeout,
        retries=server.retries,
        backoff=server.backoff,
        concurrency=server.concurrency,
        prices=Prices(server.price_in, server.price_out),
        section=section,
    )


def check_cost(section: str, server: ServerConfig, estimate: Estimate, lower: str) -> None:
    """Refuse calls that could cost more than is allowed.

    Args:
        lower: keys that would make it less.

    Raises:
        ConfigError: they could.
    """
    if server.max_cost is not None and estimate.cost is not None and estimate.cost > server.max_cost:
        raise ConfigError(
            f"{section}.max_cost: {server.max_cost:g}, but {estimate.calls:,} calls could cost up to "
            f"{estimate.cost:.4g}; raise it, or lower {lower} or {section}.max_tokens"
        )
