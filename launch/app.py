"""One wrapper around every verb: help, checks before work, run directories, exit codes.

Exit codes: 0 done; 2 something that the user can fix, told in one sentence on stderr; 130 Ctrl-C; 75 SIGTERM or
SIGUSR1, on which a scheduler may queue the same command again; 1 anything else.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.utils import run_job
from omegaconf import DictConfig, OmegaConf

from launch import processes, signals
from launch.composition import help, provenance
from launch.composition.compose import CONF, compose_point, hydra_session, options, register
from launch.composition.explain import as_user_error
from launch.composition.home import at_home
from launch.composition.typed import check_flags
from launch.job import Job, PointError, Stage
from launch.output import readers_may_leave
from launch.planner import Planner, Point
from launch.single_run import begin, place
from launch.sweeps.messages import Handover
from launch.sweeps.runner import INTERRUPTED
from launch.sweeps.sweep import conclude, plan_sweep, sweeps
from launch.waiting import wait_briefly
from rlhf import progress
from rlhf.errors import ConfigError, Interrupted, LostProcess, UserError
from rlhf.plain_text import PrintableFormatter, one_line, printable
from rlhf.runs.processes import is_launched, is_main
from rlhf.storage.log_handlers import Terminal

Talk = Callable[[Point, list[str]], None]
"""What a verb without a run directory does: a planned point, and the overrides."""


class Program:
    """A command-line program around a stage. Calling it reads `sys.argv` and exits.

    Args:
        name: of the verb; `conf/<name>.yaml` is its configuration.
        stage: what is done in an open run directory; a function, or where one is, as `package.module:function`: a
            mistyped key should be told without waiting for torch.
        talk: what is done instead by a verb that leaves no run: it is given the point and the overrides.
        prepare: turns what was typed into overrides.
        about: what `--help` says first; if not given, the function's docstring.

    Attributes:
        directory: of the run that `main` made, continued, or found finished; `None` for sweeps.
        value: what that run returned, for a sweeper to optimise.
        errors: what went wrong, in words.
    """

    def __init__(
        self,
        name: str,
        stage: Stage | str | None = None,
        talk: Talk | None = None,
        prepare: Callable[[list[str]], list[str]] | None = None,
        about: str = "",
    ) -> None:
        self.name, self.stage, self.talk, self.prepare = name, stage, talk, prepare
        self.about = about or inspect.getdoc(stage or talk) or ""
        self.directory: Path | None = None
        self.value: object = None
        self.errors: list[str] = []

    @property
    def script(self) -> str:
        """What is typed to start this program: `python train.py`, or `rlhf-lab train`."""
        name = Path(sys.argv[0]).name
        return f"python {name}" if name.endswith(".py") else name

    def __call__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A letter that the terminal's encoding lacks is no reason to stop.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        code = self.main(sys.argv[1:])
        sys.stdout.flush()
        # Else the interpreter searches everything for cycles once more before it ends: 2 s after a run.
        gc.freeze()
        sys.exit(code)

    def main(self, argv: Sequence[str]) -> int:
        """Run with these arguments; returns the exit code, having said on stderr what went wrong."""
        handed = Handover.take()
        progress.enabled = is_main()
        wait_briefly()
        try:
            with signals.raising(), ExitStack() as until_done:
                code = self._action(list(argv), handed, until_done)()
        except (KeyboardInterrupt, Interrupted) as stop:
            if is_launched():
                return 0  # The first process speaks for all; by another code, its launcher would have it killed.
            how = "with resume=true continues" if self.talk is None else "continues"
            print(f"interrupted; the same command {how}", file=sys.stderr)
            code = stop.code if isinstance(stop, Interrupted) else INTERRUPTED
        except Exception as error:
            code = self._report(error)
        handed.tell(code, "\n".join(self.errors), self.value)
        return code

    def _report(self, error: BaseException, label: str = "") -> int:
        self.errors.append(told(as_user_error(error)))
        return report(as_user_error(error), label)

    def _action(self, argv: list[str], handed: Handover, until_done: ExitStack) -> Callable[[], int]:
        """What these arguments ask for. It is returned, not done, so that training has one frame fewer around it.

        Args:
            until_done: holds Hydra's session open, where what is asked for needs one.
        """
        argv = with_searchpath(argv)
        args = parse(argv)
        args.overrides = at_home(args.overrides)
        if self.prepare is not None:
            args.overrides = self.prepare(list(args.overrides))
        planner = Planner(Path("outputs").absolute(), handed.parents)
        planner.register()
        if args.hydra_help or args.shell_completion:
            return partial(self._hydra, argv)
        engine = until_done.enter_context(hydra_session(self.name))
        if args.help:
            return partial(self._help, planner.check(compose_point(args.overrides, self.name)))
        if args.cfg or args.info:
            # For the sentence, if there is one to be said.
            composed = compose_point(args.overrides, self.name)
            if args.package and OmegaConf.select(composed, args.package) is None:
                raise ConfigError(f"--package: {args.package} is no key of this configuration")
            if args.cfg == "job" and not args.package:
                page = provenance.page(engine, composed, self.name, args.overrides, args.resolve)
                return partial(self._show, page, end="")
            until_done.close()
            # Hydra reads what was typed, not what a verb made of it.
            return partial(self._hydra, [item for item in argv if "=" not in item or item in args.overrides])
        if self.talk is None:
            return partial(self._run, args, planner, engine)
        point = self._plan_talk(args, planner)
        # Outside of the session: what is done may compose configurations of its own.
        until_done.close()
        return partial(self._talk, point, list(args.overrides))

    def _help(self, config: Any) -> int:
        return self._show(help.page(self.script, self.about, options(), config))

    @staticmethod
    def _show(text: str, end: str = "\n") -> int:
        with readers_may_leave():
            print(text, end=end)
        return 0

    def _talk(self, point: Point, overrides: list[str]) -> int:
        assert self.talk is not None
        self.talk(point, overrides)
        return 0

    def _plan_talk(self, args: argparse.Namespace, planner: Planner) -> Point:
        if args.multirun:
            raise ConfigError(f"--multirun: {self.name} does one thing at a time; leave it out")
        shown = Terminal(sys.stdout)
        shown.setFormatter(PrintableFormatter("%(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[shown])
        return planner.plan(compose_point(args.overrides, self.name))

    def _run(self, args: argparse.Namespace, planner: Planner, engine: Hydra) -> int:
        overrides = list(args.overrides)
        assert self.stage is not None
        job = Job(self.stage, planner, [item for item in overrides if item.startswith("hydra.searchpath=")], self.name)
        if args.multirun:
            return self._sweep(overrides, planner, engine, job)
        if not is_main():
            overrides = processes.follow(overrides)
        composed = compose_point(overrides, self.name)
        if is_main():
            if sweeps(composed):
                return self._sweep(overrides, planner, engine, job)
            job.point, self.directory, finished = place(composed, planner, lambda: compose_point(overrides, self.name))
            if finished:
                print(f"{self.directory} is finished; nothing to do")
                return 0
        directory = self.directory or Path(composed.hydra.run.dir).absolute()
        context = begin(engine, composed, directory, self.name)
        returned = run_job(job, composed, "hydra.run.dir", None, context)
        context.callbacks.on_run_end(config=composed, config_name=self.name, job_return=returned)
        self.value = returned.return_value
        return self._code(job)

    def _sweep(self, overrides: list[str], planner: Planner, engine: Hydra, job: Job) -> int:
        if not is_main():
            raise ConfigError("--multirun: a sweep starts its own processes; run it without torchrun or srun")
        overrides = overrides + plan_sweep(overrides, planner, job)
        try:
            engine.multirun(self.name, job, [*overrides, "hydra.mode=MULTIRUN"])
        finally:
            conclude(job)
            code = self._code(job)
        return code

    def _code(self, job: Job) -> int:
        """Say what went wrong; returns the exit code for it."""
        codes = [self._report(error, label) for label, error in job.failures]
        return max(codes, key=[0, 2, 1].index, default=0)

    def _hydra(self, argv: list[str]) -> int:
        """Hydra's own answers: its help, and compositions."""
        register()
        before = sys.argv
        sys.argv = [before[0], *argv]
        said = io.StringIO()
        try:
            # Hydra itself would report a reader that leaves as a fault.
            with redirect_stdout(said):
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=self.name)(_nothing)()
        finally:
            sys.argv = before
            with readers_may_leave():
                print(said.getvalue(), end="")
        return 0


def _nothing(_: DictConfig) -> None:
    """Hydra's own flags never call a job."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides.

    Raises:
        ConfigError: an unknown flag, or one that is refused here.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help shows what can be given")

    # argparse would print its usage over several lines and exit.
    parser.error = refuse  # type: ignore[method-assign]
    # Flags may stand between overrides.
    args = parser.parse_intermixed_args(argv)
    if args.config_path or args.config_name:
        raise ConfigError("--config-path, --config-name: refused; --config-dir DIR adds options, and --help shows all")
    if args.multirun and (args.cfg or args.info):
        raise ConfigError("--cfg, --info: show one run; leave -m out, and give each key one value")
    check_flags(args)
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
    text = told(error)
    label = printable(label)
    print(f"{label.rstrip()}\n{text}" if label and "\n" in text else label + text, file=sys.stderr)
    return 2 if isinstance(error, UserError) else 1


def told(error: BaseException) -> str:
    """A sentence for what the user can fix, a traceback for anything else."""
    if isinstance(error, (UserError, LostProcess)) and os.environ.get("HYDRA_FULL_ERROR") != "1":
        return one_line(error)
    if isinstance(error, PointError):
        return printable(str(error).rstrip())
    return printable("".join(traceback.format_exception(error)).rstrip())
