"""Paths that a configuration names."""

from __future__ import annotations

from pathlib import Path

from rlhf.errors import ConfigError, nearest


def check_exists(name: str, path: str) -> None:
    """Raises:
    ConfigError: there is nothing at `path`, and the sentence has the nearest name beside it; or what is there is a
        device or a pipe, which may never end.
    """
    if Path(path).is_file() or Path(path).is_dir():
        return
    if Path(path).exists():
        raise ConfigError(f"{name}: {path} is neither a file nor a folder")
    parent = Path(path).parent
    beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    raise ConfigError(f"{name}: {path} does not exist{nearest(Path(path).name, beside)}")
