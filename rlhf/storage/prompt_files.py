"""Texts of requests to a language model, as files with a `$place` for each thing that they are about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

from rlhf.errors import ConfigError


def read_prompt(
    key: str, folder: Path, name: str, places: Sequence[str], needed: Sequence[str], optional: Sequence[str] = ()
) -> str:
    """The text of `folder/name`.

    Args:
        key: that names the folder, for messages.
        places: that the text must have. optional: that it may have. needed: all files that the folder needs.

    Raises:
        ConfigError: it can't be read, lacks a place, or has one that is not known.
    """
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
        Template(text).substitute(dict.fromkeys([*places, *optional], ""))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise ConfigError(f"{key}: {path} can't be read ({reason}); the folder needs {', '.join(needed)}") from error
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{key}: {path} has a place that is not known ({error}); use "
            f"{', '.join(f'${place}' for place in [*places, *optional]) or 'none'}, and $$ for a dollar"
        ) from error
    if missing := [place for place in places if f"${place}" not in text]:
        raise ConfigError(f"{key}: {path} lacks ${missing[0]}, so the model would not see it")
    return text


def filled(text: str, **parts: str) -> str:
    """A text with its places filled, `$fence` among them: nobody can close a fence whose name follows from what it
    holds."""
    fence = "text-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return Template(text).substitute(parts, fence=fence).strip()
