"""A sweep around its points: all are checked before the first one runs, and compared when the last one has ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig

from launch import processes
from launch.composition.compose import compose_point
from launch.job import Job
from launch.planner import Planner, points, resumes, without_sweeps
from launch.sweeps.comparison import compare, rows_of
from launch.sweeps.optuna_search import search_to_resume
from launch.sweeps.search_space import search_of
from rlhf.errors import UserError
from rlhf.plain_text import one_line
from rlhf.runs.directory import make_directory
from rlhf.storage.inside import check_inside


def sweeps(composed: DictConfig) -> bool:
    """Whether the configuration itself asks for a sweep, as some experiments do."""
    return bool(composed.hydra.mode == RunMode.MULTIRUN)


def plan_sweep(overrides: list[str], planner: Planner, job: Job) -> list[str]:
    """Check every point; for a search, whose points are not known yet, check the ends of its ranges.

    Returns:
        Overrides to add: with `resume`, the folder of the sweep that is to be continued.

    Raises:
        UserError: a point is impossible.
    """
    base = compose_point(without_sweeps(overrides), job.verb)
    found = None
    if str(base.hydra.sweeper.get("_target_")).endswith("OptunaSweeper"):
        search, search_id = search_of(
            overrides, base.hydra.sweeper, lambda point: compose_point(point, job.verb), planner
        )
        job.shared = set(search.fixed)
        for corner in search.corners:
            planner.plan(compose_point(corner, job.verb))
        if base.resume:
            found = search_to_resume(planner.sweeps, search_id)
    else:
        combinations = points(overrides, base)
        job.shared = set(combinations[0]).intersection(*combinations[1:])
        planned = [planner.plan(compose_point(point, job.verb)) for point in combinations]
        if any(resumes(point.config) for point in planned):
            found = planner.sweep_to_resume([point.id for point in planned])
    sweep = found or Path(str(base.hydra.sweep.dir)).absolute()
    given = any(item.startswith("hydra.sweep.dir=") for item in overrides)
    # The name has the time in it, and Hydra will look at the clock once more.
    make_directory(sweep if given else sweep.parent, "hydra.sweep.dir")
    check_inside(sweep)
    if found is None or given:
        return []
    return [f"hydra.sweep.dir={processes.quoted(found)}"]


def conclude(job: Job) -> None:
    """Write the table and a report after a sweep, however it ended. Neither changes how the sweep ends."""
    if not job.directories:
        return
    try:
        compare(rows_of({n: (job.overrides[n], path) for n, path in job.directories.items()}), job.sweep)
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        print(f"{job.sweep}: the comparison could not be written: {reason}", file=sys.stderr)
    try:
        from verbs.report import write_report

        print(f"report: {os.path.relpath(write_report(job.sweep))}", flush=True)
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        print(f"{job.sweep}: no report was written: {one_line(reason)}", file=sys.stderr)
