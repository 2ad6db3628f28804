"""What is printed as data: rich reads no markup in it, and the terminal no commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from rlhf.plain_text import printable


def plain(text: object, style: str = "") -> Text:
    """A text as it is, for `Console.print` and for cells of tables; markup such as `[/INST]` is shown, not read."""
    return Text(printable(text), style=style)


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, right: bool = False, **options: Any) -> Table:
    """A table whose header, title and cells are data; `Text` among them keeps its style.

    Args:
        right: columns but the first stand to the right, as numbers do.
        options: of rich's `Table`.
    """
    if "title" in options:
        options["title"] = plain(options["title"])
    found = Table(**options)
    for i, name in enumerate(header):
        found.add_column(_cell(name), justify="right" if right and i else "left")
    for row in rows:
        found.add_row(*map(_cell, row))
    return found


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else plain(value)
