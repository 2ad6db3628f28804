"""One point of a sweep, or a single run, from the moment that Hydra has made its directory."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from launch import processes
from launch.plan import Planner, Point, holds_run, resumes
from rlhf.config import ChatConfig, ReportConfig, TrainConfig
from rlhf.errors import UserError
from rlhf.runs import Parent, Run, State, Summary, atomic_write_text, open_run
from rlhf.runs import inspect as inspect_directory

Stage = Callable[[Any, Run, list[str]], float | None]
"""What a verb does: its configuration, an open run, the overrides; returns what a sweeper may optimise."""

log = logging.getLogger("launch")


class Job:
    """What Hydra calls for each point. Keeps failures instead of raising, so that Hydra neither words nor prints them.

    Args:
        stage: what the verb does.
        planner: what was planned before.
        repeated: overrides of Hydra's own keys that processes of the same run need too.
        verb: the program's name.
    """

    def __init__(self, stage: Stage, planner: Planner, repeated: Sequence[str] = (), verb: str = "train") -> None:
        self.stage, self.planner, self.repeated, self.verb = stage, planner, list(repeated), verb
        self.failures: list[tuple[str, Exception]] = []

    def __call__(self, composed: DictConfig) -> float | None:
        try:
            return self._perform(composed)
        except Exception as error:
            self.failures.append((_label(), error))
            sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            # To the file alone: on the terminal the program itself reports it, once, on stderr.
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, sentence, (), _info(error)))
            # Not a number: a sweeper that optimises discards such a point, and goes on.
            return math.nan

    def _perform(self, composed: DictConfig) -> float | None:
        context = HydraConfig.get()
        directory = Path(context.runtime.output_dir)
        resuming = directory if composed.get("resume") and holds_run(directory) else None
        point = self.planner.plan(composed, resuming)
        overrides = list(context.overrides.task)
        if not processes.is_main():
            logging.getLogger().setLevel(logging.WARNING)
            return self.stage(point.config, _child_run(directory, point), overrides)
        if inspect_directory(directory, point.id, resumes(point.config)) is State.FINISHED:
            log.info("%s is finished; nothing to do", directory)
            return None
        config, facts = point.config, {**facts_of(point, self.verb), "overrides": overrides}
        with (
            open_run(directory, point.id, resumes(config), facts=facts, parents=point.parents) as run,
            processes.children_follow(directory, [*overrides, *self.repeated]),
        ):
            atomic_write_text(directory / "config.yaml", OmegaConf.to_yaml(composed, resolve=True))
            log.info("%s %s", "continues" if run.resumed else "run", directory)
            return self.stage(config, run, overrides)


def facts_of(point: Point, verb: str) -> dict[str, Any]:
    """What `summary.json` says of a run beside its numbers; `algo` is the verb where nothing is trained."""
    config = point.config
    facts: dict[str, Any] = {"algo": verb, "model": "", "data": "", "seed": getattr(config, "seed", 0)}
    if isinstance(config, TrainConfig):
        facts |= {"algo": config.algo.name, "model": config.model.name}
    elif (init := point.parents.get("model.init")) is not None and init.kind == "run" and init.dir is not None:
        facts["model"] = Summary.read(init.dir).model
    if not isinstance(config, ChatConfig | ReportConfig):
        facts["data"] = config.data.name
    return facts


def _child_run(directory: Path, point: Point) -> Run:
    """The run as a process sees it that reads, and leaves all writing to the first."""
    parents = point.parents
    if os.environ.get(processes.RUN_DIR):
        records = Summary.read(directory).parents
        parents = {name: Parent.from_record(record) for name, record in records.items()}
    resumed = resumes(point.config) and (directory / "checkpoints").is_dir()
    return Run(directory, point.id, resumed, parents, is_main=False)


def _label() -> str:
    """Which point of a sweep; empty for a single run."""
    context = HydraConfig.get()
    if context.mode is not RunMode.MULTIRUN:
        return ""
    return f"point {context.job.num} ({' '.join(context.overrides.task)}): "


def _info(error: Exception) -> Any:
    return None if isinstance(error, UserError) else (type(error), error, error.__traceback__)
