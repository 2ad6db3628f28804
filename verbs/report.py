"""`report.html`: for the verb, and for the programs that write one when they are done."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rlhf.config import Config, ReportConfig
from rlhf.errors import ConfigError
from rlhf.reporting.gather import gather
from rlhf.reporting.sections import build
from rlhf.reporting.write import NAME, write
from rlhf.runs.directory import make_directory

log = logging.getLogger("rlhf")


def run_report(config: Config) -> None:
    """The verb: write the page, and say where it is.

    Raises:
        UserError: there is nothing at `path` that could be shown, or matplotlib is missing.
    """
    assert isinstance(config, ReportConfig)
    if config.path is None:
        # Not a rule of the configuration, or --help would need a path too.
        raise ConfigError("path: missing; pass path=DIR, a run, an evaluation, or a folder of them")
    out = Path(config.out) if config.out else None
    page = write_report(Path(config.path), out, config.language, config.files, config.png)
    log.info("report: %s (%.1f MB)", os.path.relpath(page), page.stat().st_size / 1e6)


def write_report(
    path: Path, out: Path | None = None, language: str = "en", files: bool = True, png: bool = False
) -> Path:
    """Write one self-contained page about a run, a sweep or an evaluation; returns its path.

    Args:
        path: the directory of a run or an evaluation, or a folder of them.
        out: the page's file; `None`: `report.html` in that folder.
        language: that it opens in, `en` or `zh`.
        files: also write tables (CSV) and plots (SVG) to `report_files` beside it. png: plots as PNG too.

    Raises:
        UserError: there is nothing to show, or matplotlib is missing.
    """
    material = gather(path)
    if out is None:
        out = material.path / NAME
    make_directory(out.parent, "out")
    if out.is_dir():
        raise ConfigError(f"out: {out} is a folder; name a file in it, such as {out / NAME}")
    return write(build(material), out, language, files, png)


def try_report(path: Path) -> Path | None:
    """The same after other work, which is done: a report that fails is worth a warning, not the result."""
    try:
        return write_report(path)
    except Exception as error:
        log.warning("no report of %s: %s: %s", path, type(error).__name__, " ".join(str(error).split()))
        return None
