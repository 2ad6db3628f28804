"""A single run: composed once, planned once, then given to its job as Hydra would give it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.utils import configure_log
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict, read_write

from launch.planner import Planner, Point, holds_run, resumes
from rlhf.config import plain
from rlhf.runs import State, newest_run
from rlhf.runs.directory import inspect, make_directory


def place(composed: DictConfig, planner: Planner, compose: Callable[[], DictConfig]) -> tuple[Point, Path, bool]:
    """The point, its directory, which exists by then, and whether the run there is finished.

    Args:
        compose: composes once more, for a name that differs in the time.

    Raises:
        UserError: the configuration, a parent or the directory is impossible.
    """
    if any(str(item).startswith("hydra.run.dir=") for item in composed.hydra.overrides.hydra):
        directory = Path(composed.hydra.run.dir).absolute()
        resuming = directory if composed.get("resume") and holds_run(directory) else None
        point = planner.plan(composed, resuming)
    else:
        point = planner.plan(composed)
        found = newest_run(planner.outputs, point.id) if resumes(point.config) else None
        if found is not None:
            # With the parents on record, and why they were chosen.
            point = planner.plan(composed, found)
        directory = found or _fresh(composed, compose)
    make_directory(directory)
    state = inspect(directory, point.id, resumes(point.config), plain(point.config))
    return point, directory, state is State.FINISHED


def _fresh(composed: DictConfig, compose: Callable[[], DictConfig]) -> Path:
    """A directory named by the time, at a time that no run of the same experiment has taken."""
    while (directory := Path(composed.hydra.run.dir).absolute()).exists():
        time.sleep(0.05)
        composed = compose()
    return directory


def begin(engine: Hydra, composed: DictConfig, directory: Path, verb: str) -> HydraContext:
    """What `Hydra.run` does between composing and the job: the directory, Hydra's log, the callbacks of the start."""
    with read_write(composed), open_dict(composed):
        composed.hydra.mode = RunMode.RUN
        composed.hydra.run.dir = str(directory)
    configure_log(composed.hydra.hydra_logging, composed.hydra.verbose)
    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name=verb)
    return HydraContext(config_loader=engine.config_loader, callbacks=callbacks)
