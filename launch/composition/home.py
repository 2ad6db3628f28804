"""`~` in paths: shells expand it at the beginning of a word only, not in `model.path=~/models/mine`."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

OVERRIDE = re.compile(r"([~+]{0,2}[\w./@:-]+=)(~[\w.-]*(?:/[^\s'\"\[\]{},]*)?)")
"""An override whose value begins with `~`, which Hydra's grammar has no place for outside of quotes."""


def at_home(overrides: Sequence[str]) -> list[str]:
    """Overrides in which a path that begins with `~` names the home folder."""
    return [_expanded(item) for item in overrides]


def _expanded(item: str) -> str:
    found = OVERRIDE.fullmatch(item)
    if found is None:
        return item
    path = os.path.expanduser(found[2])
    return item if path == found[2] else found[1] + "'" + path.replace("'", "\\'") + "'"


def expand_home(value: Any) -> Any:
    """The same for every text of a configuration, wherever it came from; changed in place where it can be."""
    if isinstance(value, str):
        return os.path.expanduser(value) if value.startswith("~") else value
    if isinstance(value, list | tuple):
        return type(value)(expand_home(item) for item in value)
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            setattr(value, field.name, expand_home(getattr(value, field.name)))
    return value
