"""Names that Weights & Biases refuses: known before anything runs, not when the run is to be sent."""

from __future__ import annotations

from rlhf.config.sections import LoggerConfig
from rlhf.errors import ConfigError

NAME, TAG = 128, 64
"""Most characters of a project, group or run, and of a tag
(https://docs.wandb.ai/ref/python/init, https://docs.wandb.ai/guides/track/limits)."""
IN_URLS = "/\\#?%:"
"""What a project's name can't hold."""


def check_logger(logger: LoggerConfig) -> None:
    """Raises:
    ConfigError: W&B would refuse a name.
    """
    for name, value in (("project", logger.project), ("entity", logger.entity)):
        if value is None:
            continue
        if not value.strip():
            raise ConfigError(f"logger.{name}: is empty; Weights & Biases wants a name, or leave it out")
        _no_longer(name, value, NAME)
        if odd := [char for char in value if char in IN_URLS or not char.isprintable()]:
            raise ConfigError(f"logger.{name}: {value!r} holds {odd[0]!r}, which Weights & Biases does not take in it")
    if logger.group is not None:
        _no_longer("group", logger.group, NAME)
    for tag in logger.tags:
        if not tag.strip():
            raise ConfigError("logger.tags: one is empty; Weights & Biases takes 1 to 64 characters")
        _no_longer("tags", tag, TAG)


def _no_longer(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise ConfigError(
            f"logger.{name}: {value[:20]!r}… has {len(value)} characters, and Weights & Biases takes {most}"
        )
