"""Refusals of `label.py`: one thing at a time, and nobody votes who was not let in."""

from __future__ import annotations

from rlhf.config.address import check_address, check_installed
from rlhf.config.paths import check_exists
from rlhf.config.verbs.label import LabelConfig
from rlhf.errors import ConfigError


def check_label(config: LabelConfig) -> None:
    """Raises:
    ConfigError: the first thing that is wrong.
    """
    given = {"path": config.path, "run": config.run, "models": config.arena or None, "agreement": config.agreement}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"{asked[1]}: stands beside {asked[0]}, and label.py does one thing at a time; leave one out")
    for name in config.models:
        if name not in ("a", "b"):
            raise ConfigError(f"models.{name}: an arena has two models, models.a=RUN and models.b=RUN")
    if len(config.arena) == 1:
        missing = "b" if "a" in config.arena else "a"
        raise ConfigError(f"models.{missing}: missing; an arena needs two models")
    if config.task != "auto" and config.path is None:
        raise ConfigError(f"task: {config.task} is asked about the answers of path=FILE; leave it out")
    if config.votes_per_question is not None and config.path is None and config.run is None:
        raise ConfigError("votes_per_question: belongs to path=FILE or run=RUN; leave it out")
    if config.reward_model is not None and config.agreement is None:
        raise ConfigError("reward_model: is compared with people by agreement=FILE; leave it out")
    for name, value in (("path", config.path), ("run", config.run), ("agreement", config.agreement)):
        if value is not None:
            check_exists(name, value)
    if config.agreement is None:
        check_address(config.host, "vote")
        if asked:
            check_installed("label.py")
