"""Stages as a graph: each is a run of another verb with `resume=true`, so what is finished is not done again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from launch.children import Ending
from launch.composition.compose import compose_point, hydra_session, to_config
from launch.planner import Point
from launch.processes import quoted
from launch.side_by_side import names_its_parents, startable, threads_of_each
from rlhf.config import PipelineConfig, StageConfig, validate
from rlhf.errors import REQUEUE, ConfigError, Interrupted, TrainingError, UserError, nearest
from rlhf.runs import Summary
from tracking.groups import group_pipeline

SHARED = ("model", "data", "strategy", "rollout", "logger", "callbacks", "export", "seed")
"""What is passed on to every stage, as it was typed."""

ACCEPTED = {
    "train": SHARED,
    "collect": ("data", "strategy", "logger", "seed"),
    "merge": (),
    "evaluate": ("data", "strategy", "logger", "seed"),
}
"""Which of those each verb has."""

COLLECTED = "preferences.jsonl"


class Verbs(Protocol):
    """Runs verbs, one or several at a time; see `launch.children`."""

    def start(self, name: str, verb: str, overrides: list[str], beside: bool) -> None: ...

    def next(self) -> Ending: ...

    def stop(self) -> None: ...


@dataclass
class Plan:
    """The stages that will run, in order, and what was typed for each.

    Attributes:
        skipped: stages whose `when` is not so, with what takes the place of their result (a model), if anything.
    """

    stages: dict[str, StageConfig]
    shared: list[str]
    own: dict[str, list[str]]
    skipped: dict[str, str | None] = field(default_factory=dict)


def name_of(override: str) -> str:
    """The key or group that an override sets."""
    return re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]


def separate(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the pipeline's own configuration takes, and what may belong to a single stage."""
    ours = (*SHARED, "pipeline", "stages", "gates", "parallel", "hydra")
    mine = [item for item in overrides if name_of(item).split(".")[0] in ours]
    return mine, [item for item in overrides if item not in mine]


def plan(config: PipelineConfig, typed: Sequence[str], single: Sequence[str]) -> Plan:
    """Which stages run, with which overrides.

    Args:
        typed: overrides of the pipeline itself. single: those of single stages, `STAGE.KEY=VALUE`.

    Raises:
        ConfigError: no such stage, or a parent that is no earlier stage.
    """
    shared = [item for item in typed if name_of(item).split(".")[0] in SHARED]
    result = Plan({}, shared, {name: [] for name in config.stages})
    for item in single:
        stage, _, rest = item.lstrip("+~").partition(".")
        if stage not in config.stages or not rest:
            near = nearest(stage, [*config.stages, *SHARED])
            raise ConfigError(
                f"{name_of(item)}: not a key of the pipeline, nor of a stage{near}; "
                f"stages are {', '.join(config.stages)}: write STAGE.KEY=VALUE"
            )
        prefix = item[: len(item) - len(item.lstrip("+~"))]
        result.own[stage].append(f"{prefix}{rest}")
    seen: set[str] = set()
    for name, spec in config.stages.items():
        for key, parent in spec.parents.items():
            if parent not in seen:
                raise ConfigError(f"stages.{name}.parents.{key}: {parent} is not an earlier stage")
        seen.add(name)
        if applies(spec, config):
            result.stages[name] = spec
        else:
            result.skipped[name] = base_of(config) if spec.when == "weights_missing" else None
    return result


def applies(stage: StageConfig, config: PipelineConfig) -> bool:
    """Whether a stage's condition holds."""
    if stage.when == "weights_missing":
        return base_of(config) is None
    return stage.when == "always" or config.data.source == "assistant"


def base_of(config: PipelineConfig) -> str | None:
    """The model that the first stage starts from, where it need not be made."""
    if config.model.init not in ("auto", "random", "pretrained"):
        return config.model.init
    return config.model.path if config.model.init != "random" else None


def overrides_of(name: str, planned: Plan, config: PipelineConfig, done: dict[str, Path]) -> list[str]:
    """The command line of a stage, given the directories of those before it."""
    stage = planned.stages[name]
    parents: list[str] = []
    replaced: set[str] = set()
    for key, parent in stage.parents.items():
        if parent in done and key == "data.path":
            # What was collected takes the place of the task; it is split as the task is, so that no prompt wanders.
            data = config.data
            replaced.add("data")
            parents += [
                "data=jsonl",
                f"data.name={parent}",
                f"data.path={quoted(done[parent] / COLLECTED)}",
                f"data.seed={data.seed}",
                f"data.val_fraction={data.val_fraction}",
                f"data.test_fraction={data.test_fraction}",
            ]
        elif parent in done:
            parents.append(f"{key}={quoted(done[parent])}")
        elif planned.skipped.get(parent) and (key != "model.init" or stage.verb != "train"):
            value = str(planned.skipped[parent])
            # A base on the hub is no folder that could be looked at here.
            if Path(value).exists():
                parents.append(f"{key}={quoted(value)}")
    if stage.verb == "merge":
        parents = merged_parents(parents)
    named = {name_of(item) for item in parents}
    shared = [
        item
        for item in planned.shared
        if (section := name_of(item).split(".")[0]) in ACCEPTED[stage.verb]
        and section not in replaced
        and name_of(item) not in named
    ]
    threads = threads_of_each(config)
    shares = [] if threads is None or "strategy" not in ACCEPTED[stage.verb] else [f"strategy.threads={threads}"]
    return [*shared, *shares, *stage.overrides, *parents, *planned.own[name], "resume=true"]


def merged_parents(parents: Sequence[str]) -> list[str]:
    """`models.0=A`, `models.1=B` as the one list that they are."""
    models = [item.split("=", 1)[1] for item in parents if item.startswith("models.")]
    others = [item for item in parents if not item.startswith("models.")]
    return [*([f"models=[{','.join(models)}]"] if models else []), *others]


def check(planned: Plan, config: PipelineConfig) -> set[str]:
    """Compose every stage before the first one runs: a misspelt key of the last would otherwise be reported after
    minutes.

    Returns the stages that name their parents, and so may start before all earlier ones have ended.

    Raises:
        ConfigError: an override or a value of a stage is impossible; the sentence names the stage.
    """
    free: set[str] = set()
    with TemporaryDirectory() as stand_in:
        (Path(stand_in) / COLLECTED).touch()
        made = dict.fromkeys(planned.stages, Path(stand_in))
        for name, stage in planned.stages.items():
            try:
                with hydra_session(stage.verb):
                    composed = to_config(compose_point(overrides_of(name, planned, config, made), stage.verb))
                    validate(composed)
            except ConfigError as error:
                raise ConfigError(f"stage {name}: {error}") from error
            if names_its_parents(composed):
                free.add(name)
    return free


def run_pipeline(point: Point, typed: list[str], single: Sequence[str], verbs: Verbs) -> None:
    """Run the stages in order, independent ones side by side; stops at the first that fails or misses a gate.

    Raises:
        UserError: a stage failed; the sentence names it and says how to continue.
    """
    config = point.config
    assert isinstance(config, PipelineConfig)
    planned = plan(config, typed, single)
    free = check(planned, config)
    group_pipeline(typed)
    done: dict[str, Path] = {}
    running: dict[str, list[str]] = {}
    try:
        while len(done) < len(planned.stages):
            starting = startable(planned.stages, free, running, done, config.parallel)
            for name in starting:
                number = list(planned.stages).index(name) + 1
                running[name] = overrides_of(name, planned, config, done)
                print(f"── {number}/{len(planned.stages)} {name} ".ljust(80, "─"), flush=True)
                verbs.start(name, planned.stages[name].verb, running[name], len(running) > 1 or len(starting) > 1)
            ended = verbs.next()
            overrides = running.pop(ended.name)
            done[ended.name] = finished(ended, planned.stages[ended.name], overrides, config)
    except BaseException:
        verbs.stop()
        raise
    overview({name: done[name] for name in planned.stages})
    show_report(planned, done)


def finished(ended: Ending, stage: StageConfig, overrides: Sequence[str], config: PipelineConfig) -> Path:
    """The directory of a stage that ended well, and passed its gates.

    Raises:
        Interrupted, UserError: it did not.
    """
    if ended.code in (130, REQUEUE):
        raise Interrupted(f"stage {ended.name} was interrupted", ended.code)
    if ended.code or ended.directory is None:
        command = f"python {stage.verb}.py {' '.join(overrides)}"
        raise UserError(
            f"stage {ended.name} failed, as reported above; fix it and run the same pipeline again: "
            f"finished stages are kept. To run this stage alone: {command}"
        )
    if config.gates:
        check_gates(ended.name, stage, ended.directory)
    return ended.directory


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


def check_gates(name: str, stage: StageConfig, directory: Path) -> None:
    """Compare a finished stage's final metrics with its gates.

    Raises:
        TrainingError: one was missed.
        ConfigError: a gate names a metric that the stage does not have.
    """
    final = Summary.read(directory).final
    for metric, bounds in stage.gates.items():
        if metric not in final and bounds.get("optional"):
            print(f"gate: {metric} was not measured on this data", flush=True)
            continue
        if metric not in final:
            raise ConfigError(f"stages.{name}.gates: no {metric} in summary.json; there are {', '.join(final)}")
        value = final[metric]
        low, high = bounds.get("min"), bounds.get("max")
        ok = (low is None or value >= low) and (high is None or value <= high)
        print(f"gate: {metric} {value:.4g}, {'passed' if ok else 'missed'}", flush=True)
        if not ok:
            wanted = f"at least {low}" if low is not None and value < low else f"at most {high}"
            raise TrainingError(
                f"stage {name} missed its gate: {metric} is {value:.4g}, must be {wanted}; look at {directory}, change "
                f"{name}.KEY=VALUE and run the pipeline again, or pass gates=false to continue anyway"
            )


def overview(done: dict[str, Path]) -> None:
    """Where each stage's run is, how long it took, and its headline numbers."""
    print(f"\n{'stage':<12} {'time':>7} {'memory':>9}  run")
    total = 0.0
    for name, directory in done.items():
        summary = Summary.read(directory)
        total += summary.wall_seconds
        memory = f"{summary.peak_memory_bytes / 1e9:.2f} GB" if summary.peak_memory_bytes else ""
        print(f"{name:<12} {summary.wall_seconds:>5.0f} s {memory:>9}  {shown(directory)}")
    print(f"{'together':<12} {total:>5.0f} s", flush=True)


def shown(directory: Path) -> str:
    """Relative to here, where it is below."""
    return str(directory.relative_to(Path.cwd())) if directory.is_relative_to(Path.cwd()) else str(directory)
