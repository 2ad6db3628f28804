"""Runs that are already there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.errors import ParentError
from rlhf.runs.summary import FILE as SUMMARY_FILE
from rlhf.runs.summary import Summary
from rlhf.storage.reading import Unreadable, read_yaml

SECTIONS = (
    "algo",
    "model",
    "data",
    "train",
    "rollout",
    "strategy",
    "logger",
    "callbacks",
    "export",
    "evaluation",
    "collect",
    "normalise",
    "filter",
    "duplicates",
    "decontamination",
    "synthetic",
    "merge",
)
"""Top-level keys of a configuration that hold others."""
log = logging.getLogger("rlhf")


def all_runs(root: Path) -> Iterator[tuple[Path, Summary]]:
    """Every run directory below `root` with its summary. Those that can't be read are passed over."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        if SUMMARY_FILE in files:
            # Runs don't nest, and checkpoints have many files.
            folders.clear()
            try:
                yield Path(folder), Summary.read(Path(folder))
            except ParentError as error:
                log.debug("%s; passed over", error)


def newest_run(root: Path, run_id: str) -> Path | None:
    """The run of this experiment that was started last; `None` where there is none."""
    found = [(summary.started_at, path) for path, summary in all_runs(root) if summary.id == run_id]
    return max(found)[1] if found else None


def read_config(run: Path) -> dict[str, Any]:
    """`config.yaml` of a run; empty where it can't be read. A section that is none, and its values, are left out."""
    try:
        content = read_yaml(run / "config.yaml")
    except (OSError, Unreadable):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(name): value for name, value in content.items() if isinstance(value, dict) or str(name) not in SECTIONS}
