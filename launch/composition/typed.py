"""What Hydra accepts on the command line, and would then do silently, or not at all."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence

from hydra.core.override_parser.types import Override

from launch.composition.explain import parser
from rlhf.config import VERBS, keys
from rlhf.errors import ConfigError

COMPLETES = r"(install|uninstall|query)=(bash|fish|zsh)"


def check_flags(args: argparse.Namespace) -> None:
    """Raises:
    ConfigError: Hydra would end in a traceback.
    """
    if args.shell_completion and not any(re.fullmatch(COMPLETES, item) for item in args.overrides):
        raise ConfigError("--shell-completion: say what to do, as in -sc install=bash or -sc uninstall=fish")


def check_typed(overrides: Sequence[str], groups: Collection[str], verb: str) -> None:
    """Check overrides that compose.

    Args:
        groups: of `conf/`.

    Raises:
        ConfigError: a key is deleted that a default would take the place of; an option lies outside of its group; or
            a name would be a path.
    """
    names = [key.name for key in keys(VERBS[verb])] if verb in VERBS else []
    for item in parser().parse_overrides(list(overrides)):
        typed, name = item.input_line or "", item.key_or_group
        if item.is_delete() and name not in groups and any(f"{key}.".startswith(f"{name}.") for key in names):
            raise ConfigError(f"{typed}: {name} can't be left out; leave ~{name} away to have its defaults")
        if name in groups or name.startswith("hydra/"):
            _stays_inside(typed, item)
        if name == "hydra.job.name" and "/" in str(item.value()):
            raise ConfigError(f"{typed}: is part of a file's name, and can't hold a /")


def _stays_inside(typed: str, item: Override) -> None:
    value = item.value()
    for option in value if isinstance(value, list) else [value]:
        if isinstance(option, str) and (".." in option.split("/") or option.startswith("/")):
            raise ConfigError(f"{typed}: no such option; {item.key_or_group} takes names, not paths")
