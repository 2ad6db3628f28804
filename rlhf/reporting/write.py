"""The page on disk, with its tables and plots beside it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.reporting.charts.png import as_png
from rlhf.reporting.charts.svg import standalone
from rlhf.reporting.page import FILES, Page, render
from rlhf.runs.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from rlhf.storage.reading import Unreadable, read_json

NAME = "report.html"
LIST = ".files.json"
"""Names of what a report wrote into its folder: nothing else there is ever deleted."""
ENDINGS = (".csv", ".svg", ".png")


def write(page: Page, out: Path, language: str = "en", files: bool = True, png: bool = False) -> Path:
    """Write `out`, an HTML file, and beside it the folder `report_files` with CSV, SVG and PNG.

    Raises:
        ConfigError: `png`, and there is no matplotlib.
        OSError: the disk is full or read-only; each file is the old one or the new one.
    """
    folder = out.parent / FILES
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder}: a link or a file is where the report's folder should be; remove it")
    if files or png:
        content = {f"{table.id}.csv": _encoded(table.csv()) for table in page.tables}
        content |= {f"{chart.id}.svg": _encoded(standalone(chart)) for chart in page.charts}
        if png:
            try:
                content |= as_png(page.charts)
            except ImportError as error:
                raise ConfigError("png: needs matplotlib; pip install -e '.[report]', or leave it out") from error
        _replace(folder, content)
    atomic_write_text(out, _encoded(render(page, language, files or png)).decode())
    return out


def _replace(folder: Path, content: dict[str, bytes]) -> None:
    """Write these files, and delete those of an earlier report: a plot of before, which is no longer made, would be
    taken for one of this page. What an earlier report did not write stays."""
    folder.mkdir(parents=True, exist_ok=True)
    before = _listed(folder)
    atomic_write_json(folder / LIST, sorted(before | content.keys()))
    for name, data in content.items():
        atomic_write_bytes(folder / name, data)
    for name in before - content.keys():
        with suppress(OSError):  # it may have become a folder
            (folder / name).unlink(missing_ok=True)
    atomic_write_json(folder / LIST, sorted(content))


def _listed(folder: Path) -> set[str]:
    """What the list names, as far as a report could have written it: a folder may come from another person."""
    try:
        found = read_json(folder / LIST)
    except (OSError, Unreadable):
        return set()
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return {name for name in names if "/" not in name and "\0" not in name and name.endswith(ENDINGS)}


def _encoded(text: str) -> bytes:
    """UTF-8 with `?` for lone surrogates, which JSON may hold and no UTF-8 file can."""
    return text.encode("utf-8", "replace")
