"""The chat template that a configuration asks for, in the place of the tokenizer's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.errors import ConfigError, nearest

LARGEST = 1_000_000
"""Bytes; published templates have up to 30 KB."""
RESERVED = ("messages", "tools", "documents", "add_generation_prompt")
"""What conversations say themselves."""


def with_chosen_template(tokenizer: Tokenizer, chosen: str | None, arguments: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer with the chat template that was asked for; exports then carry it.

    Args:
        chosen: a file, or the name of one of the tokenizer's templates; `None`: the default one.
        arguments: keyword arguments, such as `enable_thinking`. They are written into the template, so that any
            program that loads an export (chat, evaluation, a server) writes the conversations that training saw.

    Raises:
        ConfigError: no such file or name, or arguments that a template can't get.
    """
    if chosen is None and not arguments:
        return tokenizer
    source = tokenizer.chat_template if chosen is None else _source(tokenizer, chosen)
    if source is None:
        raise ConfigError(
            f"data.template_kwargs: the tokenizer {tokenizer.name} has no chat template to take them; "
            "pass data.chat_template=FILE"
        )
    settings = "".join(f"{{% set {_name(name)} = {_literal(name, value)} %}}\n" for name, value in arguments.items())
    # A parent of this run may have been given the same.
    return tokenizer.with_chat_template(source if source.startswith(settings) else settings + source)


def _source(tokenizer: Tokenizer, chosen: str) -> str:
    if chosen in tokenizer.chat_templates:
        return tokenizer.chat_templates[chosen]
    path = Path(chosen).expanduser()
    if not path.is_file():
        names = sorted(tokenizer.chat_templates)
        known = f"; the tokenizer's templates are {', '.join(names)}{nearest(chosen, names)}" if names else ""
        raise ConfigError(
            f"data.chat_template: {chosen} is no file, and the tokenizer has no template of this name{known}"
        )
    if path.stat().st_size > LARGEST:
        raise ConfigError(
            f"data.chat_template: {chosen} has {path.stat().st_size:,} bytes; no chat template has that many"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.chat_template: {chosen} can't be read: {error}") from error


def _name(name: str) -> str:
    if name in RESERVED or not name.isidentifier() or name.startswith("_"):
        raise ConfigError(
            f"data.template_kwargs.{name}: a template can't be given this; use names such as enable_thinking"
        )
    return name


def _literal(name: str, value: Any) -> str:
    """A value as Jinja writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(name, part) for part in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(name, str(k))}: {_literal(name, v)}" for k, v in value.items()) + "}"
    raise ConfigError(f"data.template_kwargs.{name}: {type(value).__name__} can't be written into a template")
