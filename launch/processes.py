"""Several processes of one run: who writes, and how the others find the run directory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from rlhf.errors import ConfigError, ParentError
from rlhf.runs import Summary
from rlhf.runs.processes import RUN_DIR

LEFT_BEHIND = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
"""What Lightning sets for the processes that it starts; with LOCAL_RANK set it takes them for started already."""

COMMAND = Path(__file__).resolve().parent / "command" / "rlhf_lab.py"
"""The command as a file, which is there in a clone and where the lab is installed."""

PATIENCE = 600.0
"""Seconds for which processes wait for the first one of their run."""


def follow(overrides: Sequence[str]) -> list[str]:
    """The overrides of a process that is not the first, with the run directory of the first.

    Raises:
        ConfigError: the directory of the first process is not given.
    """
    if RUN_DIR in os.environ:
        directory = os.environ[RUN_DIR]
    else:
        given = [item for item in overrides if item.startswith("hydra.run.dir=")]
        if not given:
            raise ConfigError(
                "hydra.run.dir: missing; processes that torchrun or srun start need one directory to share, "
                "pass hydra.run.dir=DIR"
            )
        value = OverridesParser.create().parse_override(given[-1]).value()
        directory = str(value)
    # Lightning passes the directory on as well, but in a sweep it passes the wrong one.
    kept = [item for item in overrides if not item.startswith("hydra.run.dir=")]
    if not any(item.startswith("hydra.job.name=") for item in kept):
        # A log of its own; Lightning gives those that it starts a name.
        kept.append(f"hydra.job.name=rank_{os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 'other'}")
    return [*kept, f"hydra.run.dir={quoted(directory)}"]


def wait_for(directory: Path) -> Summary:
    """The summary of the run that the first process has opened; those of torchrun and srun start all at once.

    Raises:
        ConfigError: it didn't open one within ten minutes.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            summary = Summary.read(directory)
            # Lightning starts its processes from the first, which has opened the run by then.
            if RUN_DIR in os.environ or summary.status in ("running", "finished"):
                return summary
        except ParentError:
            pass
        if time.monotonic() > until:
            raise ConfigError(
                f"hydra.run.dir: the first process opened no run in {directory} within {PATIENCE / 60:g} minutes; "
                "all nodes must see the same folder, and the first process says what went wrong"
            )
        time.sleep(0.1)


@contextmanager
def children_follow(directory: Path, verb: str, arguments: Sequence[str]) -> Iterator[None]:
    """Processes that Lightning starts meanwhile run this point, in this directory: it repeats `sys.argv` for them.

    Afterwards nothing is left of them, so that a sweep's next point starts processes of its own.
    """
    names = (RUN_DIR, *LEFT_BEHIND)
    before = sys.argv, {name: os.environ.get(name) for name in names}
    sys.argv = [str(COMMAND), verb, *arguments]
    os.environ[RUN_DIR] = str(directory)
    try:
        yield
    finally:
        sys.argv = before[0]
        for name, value in before[1].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if before[1]["LOCAL_RANK"] is None:  # else torchrun or srun started all processes, for all points
            _leave_process_group()


def _leave_process_group() -> None:
    """Lightning keeps the group for the next trainer of the same processes; those of the next point are others."""
    if "torch.distributed" in sys.modules:
        import torch.distributed

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def quoted(value: object) -> str:
    """A value that Hydra's override grammar takes for text, whatever is in it."""
    return QuotedString(str(value), Quote.single).with_quotes()
