"""One wrapper around every verb: help, checks before work, run directories, exit codes.

Exit codes: 0 done; 2 something that the user can mend, told in one sentence on stderr; 130 Ctrl-C; 1 anything else.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from launch import help, processes
from launch.compose import CONF, compose_point, hydra_session, options, register
from launch.job import Job, Stage
from launch.plan import Planner, Point, holds_run, points
from rlhf.errors import ConfigError, UserError
from rlhf.runs import State, newest_run
from rlhf.runs import inspect as inspect_directory


class Program:
    """A command-line program around a stage. Calling it reads `sys.argv` and exits."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name, self.stage = name, stage
        self.script = Path(sys.argv[0]).name

    def __call__(self) -> None:
        code = self.main(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)

    def main(self, argv: Sequence[str]) -> int:
        """Run with these arguments; returns the exit code, having said on stderr what went wrong."""
        try:
            return self._dispatch(list(argv))
        except KeyboardInterrupt:
            print("interrupted; the same command with resume=true continues", file=sys.stderr)
            return 130
        except Exception as error:
            return report(error)

    def _dispatch(self, argv: list[str]) -> int:
        argv = with_searchpath(argv)
        args = parse(argv)
        if args.help:
            with hydra_session():
                config = Planner(Path("outputs")).check(compose_point(args.overrides, self.name))
            print(help.page(self.script, inspect.getdoc(self.stage) or "", options(), config))
            return 0
        planner = Planner(Path("outputs").absolute())
        planner.register()
        job = Job(self.stage, planner, [item for item in args.overrides if item.startswith("hydra.searchpath=")])
        if args.cfg or args.info or args.hydra_help or args.shell_completion:
            if args.cfg or args.info:
                with hydra_session():
                    compose_point(args.overrides, self.name)
            self._hydra(job, argv)
            return 0
        if args.multirun or "hydra.mode=MULTIRUN" in args.overrides:
            if not processes.is_main():
                raise ConfigError("--multirun: a sweep starts its own processes; run it without torchrun or srun")
            more = self._plan_sweep(args, planner)
        elif processes.is_main():
            directory = self._plan_run(args, planner)
            if directory is None:
                return 0
            more = [f"hydra.run.dir={processes.quoted(directory)}"]
        else:
            args.overrides, directory = processes.follow(args.overrides)
            more = []
        self._hydra(
            job, [*(["--multirun"] if args.multirun else []), *args.overrides, *more, f"hydra.job.name={self.name}"]
        )
        codes = [report(error, label) for label, error in job.failures]
        return max(codes, key=[0, 2, 1].index, default=0)

    def _plan_run(self, args: argparse.Namespace, planner: Planner) -> Path | None:
        """The directory of a single run; `None` if it is finished."""
        with hydra_session():
            composed = compose_point(args.overrides, self.name)
            if any(item.startswith("hydra.run.dir=") for item in args.overrides):
                directory = Path(composed.hydra.run.dir).absolute()
                resuming = directory if composed.resume and holds_run(directory) else None
                point = planner.plan(composed, resuming)
            else:
                point = planner.plan(composed)
                found = newest_run(planner.outputs, point.id) if point.config.resume else None
                directory = found or Path(composed.hydra.run.dir).absolute()
        if inspect_directory(directory, point.id, point.config.resume) is State.FINISHED:
            print(f"{directory} is finished; nothing to do")
            return None
        return directory

    def _plan_sweep(self, args: argparse.Namespace, planner: Planner) -> list[str]:
        """Check every point before the first one runs; with `resume`, go on in the sweep that was interrupted."""
        with hydra_session():
            fixed = [item for item in args.overrides if item.startswith("hydra.sweep.dir=")]
            planned: list[Point] = []
            for overrides in points(args.overrides):
                composed = compose_point(overrides, self.name)
                planned.append(planner.plan(composed))
        if planned and planned[0].config.resume and not fixed:
            found = planner.sweep_to_resume([point.id for point in planned])
            if found is not None:
                return [f"hydra.sweep.dir={processes.quoted(found)}"]
        return []

    def _hydra(self, job: Callable[[DictConfig], Any], argv: list[str]) -> None:
        register()
        before = sys.argv
        sys.argv = [before[0], *argv]
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=self.name)(job)()
        finally:
            sys.argv = before


def verb(name: str) -> Callable[[Stage], Program]:
    """Make a command-line program of a function; `conf/<name>.yaml` is its configuration, its docstring its help."""
    return lambda stage: Program(name, stage)


def parse(argv: list[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides.

    Raises:
        ConfigError: an unknown flag, or one that is refused here.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help shows what can be given")

    # argparse would print its usage over several lines and exit by itself.
    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(argv)
    if args.config_path or args.config_name:
        raise ConfigError("--config-path, --config-name: refused; --config-dir DIR adds options, and --help shows all")
    if args.experimental_rerun:
        raise ConfigError("--experimental-rerun: refused, since it unpickles a file; pass the overrides in config.yaml")
    return args


def with_searchpath(argv: list[str]) -> list[str]:
    """`--config-dir DIR` as the override that means the same, since the compose API knows only that.

    Raises:
        ConfigError: there is no such folder.
    """
    for flag in ("--config-dir", "-cd"):
        if flag in argv[:-1]:
            at = argv.index(flag)
            folder = Path(argv[at + 1]).absolute()
            if not folder.is_dir():
                raise ConfigError(
                    f"--config-dir: {argv[at + 1]} is not a folder; pass one that is laid out as conf/ is"
                )
            path = processes.quoted(f"file://{folder}")
            return [*argv[:at], *argv[at + 2 :], f"hydra.searchpath=[{path}]"]
    return argv


def report(error: BaseException, label: str = "") -> int:
    """Say on stderr what went wrong, after the label of the point; returns the exit code for it."""
    mendable = isinstance(error, UserError)
    if mendable and os.environ.get("HYDRA_FULL_ERROR") != "1":
        print(label + " ".join(str(error).split()), file=sys.stderr)
    else:
        if label:
            print(label, file=sys.stderr)
        traceback.print_exception(error)
    return 2 if mendable else 1
