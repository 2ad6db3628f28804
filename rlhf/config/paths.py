"""Paths that a configuration names."""

from __future__ import annotations

from pathlib import Path

from rlhf.errors import ConfigError, nearest


def check_exists(name: str, path: str) -> None:
    """Raises: ConfigError: there is nothing at `path`; the sentence has the nearest name beside it."""
    if Path(path).exists():
        return
    parent = Path(path).parent
    beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    raise ConfigError(f"{name}: {path} does not exist{nearest(Path(path).name, beside)}")
