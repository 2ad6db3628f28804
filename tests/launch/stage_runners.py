"""Stages of a pipeline in this process: some that only pretend to run, and whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launch.children import Ending
from launch.composition.compose import compose_point, hydra_session, to_config
from launch.pipeline import run_pipeline
from launch.planner import Planner, Point
from launch.programs import PROGRAMS
from launch.stages.graph import separate
from rlhf.runs import Summary


class Stages:
    """Pretends to run stages; remembers them, and writes the summaries that gates read.

    Attributes:
        final: of every stage. finals: of those that are named here, in its place.
        waiting: stages that end before they are done, since people have to do something first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, list[str]]] = []
        self.names: list[str] = []
        self.codes: dict[int, int] = {}
        self.running: list[Ending] = []
        self.at_once: list[list[str]] = []
        self.beside: dict[str, bool] = {}
        self.stopped: list[str] = []
        self.final: dict[str, float] = {"val/accuracy": 0.8, "forgetting": 0.3}
        self.finals: dict[str, dict[str, float]] = {}
        self.waiting: set[str] = set()

    def start(self, name: str, verb: str, overrides: list[str], beside: bool) -> None:
        self.calls.append((verb, overrides))
        self.names.append(name)
        self.beside[name] = beside
        number = len(self.calls)
        directory = self.root / f"run-{number}"
        directory.mkdir(exist_ok=True)
        waits = name in self.waiting
        status = "waiting" if waits else "finished"
        Summary(status=status, final=self.finals.get(name, self.final)).write(directory)
        code = self.codes.get(number, 2 if waits else 0)
        self.running.append(Ending(name, code, directory if waits or not code else None))

    def next(self) -> Ending:
        self.at_once.append([ending.name for ending in self.running])
        return self.running.pop(0)

    def stop(self) -> None:
        self.stopped += [ending.name for ending in self.running]
        self.running.clear()


class InProcess:
    """Runs stages here, since a new interpreter for each of them would take most of the time.

    Attributes:
        directories: of the runs, by stage.
    """

    def __init__(self) -> None:
        self.ended: list[Ending] = []
        self.directories: dict[str, Path | None] = {}

    def start(self, name: str, verb: str, overrides: list[str], beside: bool) -> None:
        program = PROGRAMS[verb]
        code = program.main(overrides)
        self.directories[name] = program.directory
        self.ended.append(Ending(name, code, program.directory if code == 0 else None))

    def next(self) -> Ending:
        return self.ended.pop(0)

    def stop(self) -> None:
        self.ended.clear()


def run_whole(typed: Sequence[str]) -> dict[str, Path | None]:
    """`python pipeline.py TYPED…` in the working folder; returns the directory of each stage's run."""
    Planner(Path("outputs")).register()
    mine, single = separate(typed)
    with hydra_session("pipeline"):
        config = to_config(compose_point(mine, "pipeline"))
    stages = InProcess()
    run_pipeline(Point(config, {}, "id"), mine, single, stages)
    return stages.directories
