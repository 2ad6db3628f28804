"""Which runs stand together in Weights & Biases: points of a sweep, and stages of a pipeline."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

GROUP = "WANDB_RUN_GROUP"
"""W&B's own variable; if it is set, it decides, and child processes inherit it."""


def group_of(given: str | None, directory: Path) -> str | None:
    """The group that was given, else the environment's, else one for the folder of a sweep; a single run has none."""
    if chosen := given or os.environ.get(GROUP):
        return chosen
    return f"sweep-{directory.parent.name}" if directory.parent.parent.name == "multirun" else None


def group_pipeline(typed: list[str]) -> None:
    """Stages of one pipeline share a group, also when the pipeline is continued."""
    name = hashlib.sha256("\n".join([str(Path.cwd()), *sorted(typed)]).encode()).hexdigest()[:8]
    os.environ.setdefault(GROUP, f"pipeline-{name}")
