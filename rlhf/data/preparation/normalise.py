"""One way of writing the same text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
"""Control characters and the byte order mark. Joiners and spaces without width stay: several scripts need them."""


def normaliser(unicode: str = "NFC", whitespace: bool = True) -> Callable[[str], str]:
    """A function of a text.

    Args:
        unicode: a normal form of Unicode, or `none`.
        whitespace: whether line ends become `\\n`, control characters go, and white space at both ends too.
    """
    return partial(_normalised, unicode, whitespace)


def _normalised(unicode: str, whitespace: bool, text: str) -> str:
    if unicode != "none" and not text.isascii():
        text = unicodedata.normalize(unicode, text)  # type: ignore[arg-type]
    if whitespace:
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = _CONTROL.sub("", text).strip()
    return text
