"""One point of a sweep, or a single run, from the moment that Hydra has made its directory."""

from __future__ import annotations

import logging
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from launch import processes
from launch.composition.recipes import adapter_note
from launch.planner import Planner, Point, holds_run, resumes
from rlhf.config import ChatConfig, LabelConfig, MergeConfig, ReportConfig, ServeConfig, TrainConfig
from rlhf.config.objective import Value, objective_value
from rlhf.data.files.prepared import cards_of
from rlhf.errors import ConfigError, UserError
from rlhf.runs import Parent, Run, State, Summary, atomic_write_text, open_run
from rlhf.runs import inspect as inspect_directory
from rlhf.runs.processes import is_main

Stage = Callable[[Any, Run, list[str]], Value]
"""What a verb does: its configuration, an open run, the overrides; returns what a sweeper may optimise."""

log = logging.getLogger("launch")

Function = TypeVar("Function", bound=Callable[..., Any])


def resolved(named: Function | str) -> Function:
    """A function, imported now if only its place was given, as `package.module:function`."""
    return pkgutil.resolve_name(named) if isinstance(named, str) else named


class PointError(Exception):
    """What a point that ran elsewhere reported of a failure that is no user's; its traceback, if it had one."""


class Job:
    """What Hydra calls for each point. Keeps failures instead of raising, so that Hydra neither words nor prints them.

    Args:
        stage: what the verb does.
        planner: what was planned before.
        repeated: overrides of Hydra's own keys that processes of the same run need too.
        verb: the program's name.

    Attributes:
        failures: what went wrong, after the name of the point.
        directories, names, overrides: of the points of a sweep, by their numbers; overrides without the shared ones.
        sweep: folder of the sweep.
        shared: overrides that all points have in common, and that need no repeating in their names.
        point: of a single run, which was planned when its directory was chosen.
    """

    def __init__(self, stage: Stage | str, planner: Planner, repeated: Sequence[str] = (), verb: str = "train") -> None:
        self.stage, self.planner, self.repeated, self.verb = stage, planner, list(repeated), verb
        self.failures: list[tuple[str, Exception]] = []
        self.directories: dict[int, Path] = {}
        self.names: dict[int, str] = {}
        self.overrides: dict[int, list[str]] = {}
        self.sweep = Path()
        self.shared: set[str] = set()
        self.point: Point | None = None

    def note_point(self, hydra: Any, directory: Path) -> None:
        """Remember a point of a sweep, whatever becomes of it.

        Args:
            hydra: Hydra's own configuration of the point.
        """
        number, overrides = hydra.job.num, list(hydra.overrides.task)
        self.directories[number], self.names[number] = directory, self.label(number, overrides)
        self.overrides[number] = [item for item in overrides if item not in self.shared]
        self.sweep = Path(hydra.sweep.dir).absolute()

    def label(self, number: int, overrides: Sequence[str]) -> str:
        """Which point of a sweep."""
        own = [item for item in overrides if item not in self.shared]
        return f"point {number} ({' '.join(own or overrides)}): "

    @staticmethod
    def value_of(point: Point, directory: Path) -> Value:
        """What a finished run returned when it finished."""
        if not isinstance(point.config, TrainConfig):
            return None
        return objective_value(point.config, Summary.read(directory).final)

    def __call__(self, composed: DictConfig) -> Value:
        context = HydraConfig.get()
        name = ""
        if context.mode is RunMode.MULTIRUN:
            self.note_point(context, Path(context.runtime.output_dir))
            name = self.names[context.job.num]
        directory = Path(context.runtime.output_dir)
        with self._kept(name):
            if not is_main():
                return self._join(composed, directory)
            point = self.point or self._planned(composed, directory)
            overrides = list(context.overrides.task)
            if inspect_directory(directory, point.id, resumes(point.config)) is State.FINISHED:
                log.info("%s is finished; nothing to do", directory)
                return self.value_of(point, directory)
            config, facts = point.config, {**facts_of(point, self.verb), "overrides": overrides}
            with (
                open_run(directory, point.id, resumes(config), facts=facts, parents=point.parents) as run,
                processes.children_follow(directory, self.verb, [*overrides, *self.repeated]),
            ):
                atomic_write_text(directory / "config.yaml", OmegaConf.to_yaml(composed, resolve=True))
                log.info("%s %s", "continues" if run.resumed else "run", directory)
                if (note := adapter_note(composed)) is not None:
                    log.info("%s", note)
                return resolved(self.stage)(config, run, overrides)
        # Not a number: a sweeper that optimises discards such a point, and continues.
        return math.nan

    @contextmanager
    def _kept(self, name: str) -> Iterator[None]:
        """What goes wrong within is kept with the name of its point, and written to the log."""
        try:
            yield
        except Exception as error:
            self.failures.append((name, error))
            sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            # To the file alone: on the terminal the program itself reports it, once, on stderr.
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, sentence, (), _info(error)))

    def _planned(self, composed: DictConfig, directory: Path) -> Point:
        resuming = directory if composed.get("resume") and holds_run(directory) else None
        return self.planner.plan(composed, resuming)

    def _join(self, composed: DictConfig, directory: Path) -> Value:
        """In a process that is not the first: the run as that one has opened it, to which all writing is left."""
        logging.getLogger().setLevel(logging.WARNING)
        opened = processes.wait_for(directory)
        point = self.planner.plan(composed, directory)
        resumed = resumes(point.config) and (directory / "checkpoints").is_dir()
        if opened.status == "finished" and resumes(point.config):
            return None
        if opened.id != point.id:
            raise ConfigError(
                f"hydra.run.dir: the first process runs another experiment in {directory}; "
                "start all processes of a run with the same command"
            )
        parents = {name: Parent.from_record(record) for name, record in opened.parents.items()}
        run = Run(directory, point.id, resumed, parents, is_main=False)
        return resolved(self.stage)(point.config, run, list(HydraConfig.get().overrides.task))


def facts_of(point: Point, verb: str) -> dict[str, Any]:
    """Fields of `summary.json` beside its numbers; `algo` is the verb where nothing is trained."""
    config = point.config
    facts: dict[str, Any] = {"algo": verb, "model": "", "data": "", "seed": getattr(config, "seed", 0)}
    if isinstance(config, TrainConfig):
        facts |= {"algo": config.algo.name, "model": config.model.name}
    elif (init := point.parents.get("model.init")) is not None and init.kind == "run" and init.dir is not None:
        facts["model"] = Summary.read(init.dir).model
    if isinstance(config, MergeConfig):
        made = [Summary.read(p.dir) for p in point.parents.values() if p.kind == "run" and p.dir is not None]
        facts |= {"model": _common(s.model for s in made), "data": _common(s.data for s in made)}
    elif not isinstance(config, ChatConfig | ReportConfig | LabelConfig | ServeConfig):
        facts["data"] = config.data.name
        facts["data_cards"] = cards_of(config.data.paths)
    return facts


def _common(names: Iterable[str]) -> str:
    """The name that all have; empty where they differ."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


def _info(error: Exception) -> Any:
    return None if isinstance(error, UserError) else (type(error), error, error.__traceback__)
