"""Refusals of `label.py`: one thing at a time, and nobody votes who was not let in."""

from __future__ import annotations

from rlhf.config.address import check_address, check_installed
from rlhf.config.endpoint import api_key, check_nowhere_else, check_url, check_variable
from rlhf.config.paths import check_exists
from rlhf.config.verbs.label import LONGEST_TITLE, STUDIO_TASKS, LabelConfig
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
    if config.tool == "label-studio":
        _studio(config)
        return
    for name in ("url", "project"):
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: belongs to tool=label-studio; pass that too, or leave {name} out")
    if config.agreement is None:
        check_address(config.host, "vote")
        if asked:
            check_installed("label.py")


def _studio(config: LabelConfig) -> None:
    """What is sent to a server of Label Studio, and which one."""
    if config.path is None:
        raise ConfigError("path: missing; tool=label-studio sends the answers in path=FILE")
    if config.task not in STUDIO_TASKS:
        raise ConfigError(
            f"task: {config.task} is asked on the page alone; with tool=label-studio pass one of "
            f"{', '.join(STUDIO_TASKS)}"
        )
    if config.url is None:
        raise ConfigError("url: missing; tool=label-studio needs its address, such as url=http://localhost:8080")
    check_variable("key_env", config.key_env)
    check_url("url", config.url, "http://localhost:8080", "key_env")
    said = {name: str(getattr(config, name)) for name in ("url", "project", "path", "out")}
    check_nowhere_else(said, config.key_env, api_key("", config.key_env))
    if config.project is not None and not 1 <= len(config.project) <= LONGEST_TITLE:
        raise ConfigError(f"project: {config.project!r} must have 1 to {LONGEST_TITLE} characters")
