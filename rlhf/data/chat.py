"""Renders a tokenizer's chat template into the literals that stand around the contents of its turns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlhf.errors import DataError

# Private-use code points: no template writes them, and `trim` leaves them alone.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_SENTINEL = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


def render_pieces(template: str, roles: list[str], special_tokens: Mapping[str, str]) -> tuple[str, ...]:
    """The literal before each of the turns' contents and the one after the last, ending where the answer begins.

    The contents themselves never pass through the template, so nothing in them can act as one of its markers.

    Args:
        template: Jinja source, as in `tokenizer_config.json` or `chat_template.jinja`.
        roles: the turns' roles.
        special_tokens: `bos_token`, `eos_token`, ... as the template may use them.

    Raises:
        DataError: the template is not valid, refuses such a conversation, or does not write every content once and
            in order.
    """
    return _render(template, tuple(roles), tuple(sorted(special_tokens.items())))


@lru_cache(maxsize=512)
def _render(template: str, roles: tuple[str, ...], special_tokens: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    import jinja2

    messages = [{"role": role, "content": f"{_OPEN}{turn}{_CLOSE}"} for turn, role in enumerate(roles)]
    try:
        text = _compile(template).render(
            messages=messages, add_generation_prompt=True, tools=None, documents=None, **dict(special_tokens)
        )
    except jinja2.TemplateError as error:
        raise DataError(
            f"the tokenizer's chat template refuses a conversation of {' + '.join(roles)}: {error}"
        ) from error
    parts = _SENTINEL.split(text)
    if parts[1::2] != [str(turn) for turn in range(len(roles))]:
        raise DataError(
            f"the tokenizer's chat template does not write every turn of {' + '.join(roles)} once and in order"
        )
    return tuple(parts[0::2])


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    """As `transformers` compiles it, but without the clock: a prompt must have the same tokens tomorrow."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)
