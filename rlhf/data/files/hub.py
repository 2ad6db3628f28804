"""Whether the Hugging Face hub can be reached, asked once and quickly.

Its clients try every file six times with growing pauses, most of a minute in which an offline user sees warnings only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

SECONDS = 5.0


@lru_cache(maxsize=1)
def reachable() -> bool:
    """One short request, through the same client and proxies that a download would use; false in offline mode."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # whatever the client raises: no route, no name, a proxy's refusal, offline mode
        return False
    return True


@contextmanager
def only_cached() -> Iterator[None]:
    """A context in which `datasets` reads what it downloaded before, without the network."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
