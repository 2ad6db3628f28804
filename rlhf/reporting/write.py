"""The page on disk, with its tables and plots beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.reporting.page import FILES, Page, render
from rlhf.reporting.png import save_png
from rlhf.reporting.svg import standalone
from rlhf.runs import atomic_write_text


def write(page: Page, out: Path, language: str = "en", files: bool = True, png: bool = False) -> Path:
    """Write `out`, an HTML file, and beside it the folder `report_files` with CSV, SVG and PNG.

    Raises:
        ConfigError: `png`, and there is no matplotlib.
    """
    folder = out.parent / FILES
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder}: a link or a file is where the report's folder should be; remove it")
    if files or png:
        # A plot of before, which is no longer made, would be taken for one of this page.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for table in page.tables:
            atomic_write_text(folder / f"{table.id}.csv", _encodable(table.csv()))
        for chart in page.charts:
            atomic_write_text(folder / f"{chart.id}.svg", _encodable(standalone(chart)))
    if png:
        try:
            save_png(page.charts, folder)
        except ImportError as error:
            raise ConfigError("png: needs matplotlib; pip install -e '.[report]', or leave it out") from error
    atomic_write_text(out, _encodable(render(page, language, files or png)))
    return out


def _encodable(text: str) -> str:
    """The text with `?` for lone surrogates, which JSON may hold and no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode("utf-8")
