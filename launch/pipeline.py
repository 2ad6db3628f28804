"""Stages as a graph: each is a run of another verb with `resume=true`, so what is finished is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from launch.children import Ending
from launch.planner import Point
from launch.stages.gates import RoundsEnd, check_gates
from launch.stages.graph import Plan, check, commands, overrides_of, plan, shortened
from launch.stages.rounds import round_of
from launch.stages.side_by_side import startable
from rlhf.config import PipelineConfig, StageConfig
from rlhf.errors import REQUEUE, Interrupted, ParentError, TrainingError, UserError, WaitsForPeople
from rlhf.runs import Summary
from tracking.groups import group_pipeline


class Verbs(Protocol):
    """Runs verbs, one or several at a time; see `launch.children`."""

    def start(self, name: str, verb: str, overrides: list[str], beside: bool) -> None: ...

    def next(self) -> Ending: ...

    def stop(self) -> None: ...


def run_pipeline(point: Point, typed: list[str], single: Sequence[str], verbs: Verbs) -> None:
    """Run the stages in order, independent ones side by side; stops at the first that fails or misses a gate.

    Raises:
        UserError: a stage failed; the sentence names it and says how to continue.
    """
    config = point.config
    assert isinstance(config, PipelineConfig)
    planned = plan(config, typed, single)
    free = check(planned, config)
    if config.dry_run:
        for number, (name, command) in enumerate(commands(planned, config).items(), 1):
            print(f"{number}/{len(planned.stages)} {name}: {command}", flush=True)
        return
    group_pipeline(typed)
    done, running = dict(planned.given), dict[str, list[str]]()
    try:
        while any(name not in done for name in planned.stages):
            starting = startable(planned.stages, free, running, done, config.parallel)
            for name in starting:
                number = list(planned.stages).index(name) + 1
                running[name] = overrides_of(name, planned, config, done)
                print(f"── {number}/{len(planned.stages)} {name} ".ljust(80, "─"), flush=True)
                verbs.start(name, planned.stages[name].verb, running[name], len(running) > 1 or len(starting) > 1)
            ended = verbs.next()
            stage, overrides = planned.stages[ended.name], running.pop(ended.name)
            done[ended.name] = finished(ended, stage, overrides)
            if config.gates:
                try:
                    check_gates(ended.name, stage, done[ended.name])
                except RoundsEnd as missed:
                    end_rounds(ended.name, str(missed), planned, config, {*done, *running})
    except BaseException:
        verbs.stop()
        raise
    overview({name: done[name] for name in planned.stages})
    show_report(planned, done)


def end_rounds(name: str, missed: str, planned: Plan, config: PipelineConfig, kept: set[str]) -> None:
    """After a missed gate of stage `name`: leave out what is to come of the rounds.

    Args:
        kept: stages that have run, or are running.

    Raises:
        TrainingError: no round was done to its end, so that there is nothing for the stages after them.
    """
    number = round_of(name) or 0
    whole = all(mine in kept for mine in planned.stages if round_of(mine) == number)
    rounds = number if whole else number - 1
    if not rounds:
        raise TrainingError(f"{missed}; it is the first round, so there is nothing to continue with")
    shortened(planned, config, rounds, kept)
    print(f"{missed}: the rounds end here, {rounds} of {config.rounds} are whole", flush=True)


def finished(ended: Ending, stage: StageConfig, overrides: Sequence[str]) -> Path:
    """The directory of a stage that ended well.

    Raises:
        Interrupted, UserError: it did not.
    """
    if ended.code in (130, REQUEUE):
        raise Interrupted(f"stage {ended.name} was interrupted", ended.code)
    if waits(ended):
        raise WaitsForPeople(
            f"stage {ended.name} waits for people, as said above; afterwards run the same pipeline again: finished "
            "stages are kept"
        )
    if ended.code or ended.directory is None:
        command = f"python {stage.verb}.py {' '.join(overrides)}"
        raise UserError(
            f"stage {ended.name} failed, as reported above; fix it and run the same pipeline again: "
            f"finished stages are kept. To run this stage alone: {command}"
        )
    return ended.directory


def waits(ended: Ending) -> bool:
    """Whether a stage stopped since people have to do something first."""
    if not ended.code or ended.directory is None:
        return False
    try:
        return Summary.read(ended.directory).status == "waiting"
    except ParentError:  # it came as far as a directory, and no further
        return False


def show_report(planned: Plan, done: dict[str, Path]) -> None:
    """Log where the report is: an evaluation has written one; else one about the last stage is written."""
    if not done:
        return
    evaluations = [done[name] for name, stage in planned.stages.items() if stage.verb == "evaluate"]
    page = (evaluations or list(done.values()))[-1] / "report.html"
    if not page.exists():
        # Here, since it imports torch, and most pipelines end with an evaluation.
        from verbs.report import try_report

        try_report(page.parent)
    if page.exists():
        print(f"report: {shown(page)}", flush=True)


def overview(done: dict[str, Path]) -> None:
    """Where each stage's run is, how long it took, and its headline numbers."""
    width = max([12, *map(len, done)])
    print(f"\n{'stage':<{width}} {'time':>7} {'memory':>9}  run")
    total = 0.0
    for name, directory in done.items():
        summary = Summary.read(directory)
        total += summary.wall_seconds
        memory = f"{summary.peak_memory_bytes / 1e9:.2f} GB" if summary.peak_memory_bytes else ""
        print(f"{name:<{width}} {summary.wall_seconds:>5.0f} s {memory:>9}  {shown(directory)}")
    print(f"{'together':<{width}} {total:>5.0f} s", flush=True)


def shown(directory: Path) -> str:
    """Relative to here, where it is below."""
    return str(directory.relative_to(Path.cwd())) if directory.is_relative_to(Path.cwd()) else str(directory)
