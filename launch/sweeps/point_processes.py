"""Points of a sweep in processes of their own: each is the command of a single run, whose parents and directory the
sweep has chosen. How a command gets its process, here or on a cluster, is a backend's affair (`backends.py`)."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from launch import processes
from launch.job import Job, PointError
from launch.planner import holds_run, resumes
from launch.sweeps import messages
from launch.sweeps.runner import INTERRUPTED, Ending
from rlhf.errors import REQUEUE, Interrupted, UserError
from rlhf.runs import State
from rlhf.runs import inspect as inspect_directory

CONSOLE = "console.log"
"""What a point printed, in its directory."""

OF_THE_SWEEP = (
    "hydra.mode",
    "hydra.launcher",
    "hydra/launcher",
    "hydra.sweep",
    "hydra/sweep",
    "hydra.run.",
    "hydra.job.num",
)
"""Overrides of Hydra's own keys that are no business of a point."""

log = logging.getLogger("launch")


@dataclass(frozen=True)
class Command:
    """One point, ready to run anywhere that has the same paths.

    Attributes:
        number: of the point in its sweep.
        arguments: the command line.
        folder: working directory.
        variables: of the environment, beside those of the worker.
        console: file for what it prints.
    """

    number: int
    arguments: list[str]
    folder: str
    variables: dict[str, str]
    console: str


Backend = Callable[[Sequence[Command]], Iterator[tuple[int, Ending]]]
"""Runs commands; yields the number and the ending of each, as they end."""


def launch(
    job: Job, context: HydraContext, config: DictConfig, batch: Sequence[Sequence[str]], first: int, backend: Backend
) -> list[JobReturn]:
    """What a Hydra launcher does with a batch of points; their failures are kept in the job.

    Raises:
        Interrupted: after a signal, when what was running has saved itself.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    before = HydraConfig.instance().cfg
    returns: dict[int, JobReturn] = {}
    commands: list[Command] = []
    try:
        for number, overrides in enumerate(batch, first):
            composed = _composed(context, config, overrides, number)
            returns[number] = _unfinished(composed, overrides)
            command = _command(job, composed, list(overrides), number, returns[number])
            if command is not None:
                commands.append(command)
    finally:
        HydraConfig.instance().cfg = before
    stopped = 0
    for number, ending in backend(commands) if commands else ():
        code = _note(job, number, ending, returns[number])
        stopped = max(stopped, code if code in (INTERRUPTED, REQUEUE) else 0)
    if stopped:
        raise Interrupted("points were stopped", stopped)
    return list(returns.values())


def _composed(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    return composed


def _unfinished(composed: DictConfig, overrides: Sequence[str]) -> JobReturn:
    """The return of a point without a value, which counts as not a number: sweepers that optimise discard it."""
    task = composed.copy()
    with open_dict(task):
        hydra = task.pop("hydra")
    answer = JobReturn(list(overrides), task, OmegaConf.create({"hydra": hydra}), os.getcwd(), "train")
    answer.status, answer.return_value = JobStatus.COMPLETED, math.nan
    return answer


def _command(job: Job, composed: DictConfig, task: list[str], number: int, answer: JobReturn) -> Command | None:
    """The command of a point; `None` if it is finished or can't be run."""
    try:
        directory = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir).absolute()
        job.note_point(composed.hydra, directory)
        resuming = directory if composed.get("resume") and holds_run(directory) else None
        point = job.planner.plan(composed, resuming)
        name = job.names[number]
        if inspect_directory(directory, point.id, resumes(point.config)) is State.FINISHED:
            log.info("%s%s is finished; nothing to do", name, os.path.relpath(directory))
            answer.return_value = job.value_of(point, directory)
            return None
    except UserError as error:
        job.failures.append((job.label(number, task), error))
        return None
    log.info("%s%s", name, os.path.relpath(directory))
    hydra = [item for item in composed.hydra.overrides.hydra if not item.lstrip("+~").startswith(OF_THE_SWEEP)]
    # A preset may have made the sweep by its own hydra.mode: the point must not begin a sweep itself.
    hydra += ["hydra.mode=RUN", f"hydra.run.dir={processes.quoted(directory)}", f"hydra.job.num={number}"]
    return Command(
        number,
        [sys.executable, str(processes.COMMAND), job.verb, *task, *hydra],
        os.getcwd(),
        messages.variables(point.parents),
        str(directory / CONSOLE),
    )


def _note(job: Job, number: int, ending: Ending, answer: JobReturn) -> int:
    """Say how a point ended, and keep its failure or its value; returns its exit code."""
    name, code, error = job.names[number], ending["code"], ending["error"]
    if code == 0:
        log.info("%sfinished in %.0f s", name, ending["seconds"])
        value = ending["value"]
        answer.return_value = tuple(value) if isinstance(value, list) else value
    elif code in (INTERRUPTED, REQUEUE):
        log.info("%sstopped", name)
    else:
        log.info("%sfailed after %.0f s", name, ending["seconds"])
        console = job.directories[number] / CONSOLE
        text = error or f"{_how(code)}; its output is in {console}"
        job.failures.append((name, UserError(text) if code == 2 else PointError(text)))
    return code


def _how(code: int) -> str:
    """What an exit code without a word tells."""
    if code >= 0:
        return f"ended with exit code {code}"
    memory = ", perhaps because the machine's memory was full" if code == -signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{memory}"
