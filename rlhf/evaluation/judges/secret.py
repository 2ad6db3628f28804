"""A key that must not be seen: taken out of texts however it is written there."""

from __future__ import annotations

import re

HIDDEN = "***"


class Secret:
    """A key, or none.

    Args:
        key: any text; `None` and an empty one hide nothing.
    """

    def __init__(self, key: str | None) -> None:
        self.key = key
        self._written = re.compile("".join(map(_forms, key))) if key else None

    def taken_out(self, text: str) -> str:
        """The text with `***` in place of the key, as it is or escaped as in JSON, a URL or HTML, in part or whole."""
        return self._written.sub(HIDDEN, text) if self._written is not None else text


def _forms(char: str) -> str:
    """A pattern of the ways to write one character down."""
    code, escaped = ord(char), re.escape(char)
    # A backslash may itself be escaped, where JSON stands in JSON.
    forms = [rf"\\*{escaped}" if char != "\\" else r"\\+", rf"\\+u(?i:{code:04x})"]
    forms += [rf"&#0*{code};", rf"&#x0*(?i:{code:x});"]
    forms += {"&": ["&amp;"], "<": ["&lt;"], ">": ["&gt;"], '"': ["&quot;"]}.get(char, [])
    forms.append("".join(f"%(?i:{byte:02x})" for byte in char.encode("utf-8", "surrogatepass")))
    return f"(?:{'|'.join(forms)})"
