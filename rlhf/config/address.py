"""Where a server of this lab listens, and who may talk to it."""

from __future__ import annotations

import ipaddress
import os
from importlib.util import find_spec

from rlhf.errors import ConfigError

TOKEN = "RLHF_LAB_TOKEN"
"""Environment variable with the word that a client must know where the server listens to other machines."""
SHORTEST = 16
"""Characters of that word."""


def check_address(host: str, could: str) -> None:
    """Refuse an address that other machines reach where nothing keeps them out, and a word that is easily guessed.

    Args:
        could: what everybody could do, such as `vote`.

    Raises:
        ConfigError: see above; the word itself is never repeated.
    """
    token = os.environ.get(TOKEN, "")
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"host: {host} lets other machines in, and everybody could {could}; set {TOKEN} to a word of "
            f"{SHORTEST} or more characters, or leave host out"
        )
    if token and (len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(f"{TOKEN}: must have {SHORTEST} or more characters, ASCII without spaces")


def check_installed(verb: str) -> None:
    """Raises:
    ConfigError: the libraries of the server are not there.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise ConfigError(f"{verb}: needs Starlette and Uvicorn; pip install -e '.[web]'")


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
