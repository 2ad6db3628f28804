"""Texts of others on their way to a terminal, a log or a spreadsheet: what is shown is the text, and nothing acts.

Prompts, answers, field names, templates and what a server says come from strangers. A terminal takes control characters
for commands, a log takes a newline for the end of an entry, and a spreadsheet takes some cells for formulas.
"""

from __future__ import annotations

import logging
import re
from typing import Any

CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # C0 and C1, without tab, newline and the carriage return
    "|\r(?!\n)"  # alone, it lets a line overwrite itself
    "|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # directions of writing, which show a text as another one
    "|[\u2028\u2029\ufff9-\ufffb\ud800-\udfff]"  # further line ends, annotations, halves of characters
)
FORMULA = re.compile(r"[=+\-@\t\r＝＋－＠]")
"""First characters that spreadsheets read as a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""


def printable(text: object) -> str:
    """The text with control characters written out, as in `\\x1b[31m`; tabs, newlines and every letter stay."""
    return CONTROL.sub(_written_out, str(text))


def one_line(text: object) -> str:
    """The same on a single line, white space as single spaces, for error messages."""
    return printable(" ".join(str(text).split()))


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file: a text that a spreadsheet would run as a formula gets a `'` in front; numbers stay."""
    if not isinstance(value, str) or FORMULA.match(value) is None or _is_number(value):
        return value
    return f"'{value}"


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class PrintableFormatter(logging.Formatter):
    """A log entry whose text can neither command a terminal nor begin a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).replace("\n", "\n    ")

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
