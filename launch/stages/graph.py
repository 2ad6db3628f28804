"""Stages as a graph: which of them run, and the command line of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from launch.composition.compose import compose_point, hydra_session, to_config
from launch.processes import quoted
from launch.stages.rounds import listed, round_of, template_of, written_out
from launch.stages.side_by_side import names_its_parents, parents_of, threads_of_each
from rlhf.config import Config, PipelineConfig, StageConfig, validate
from rlhf.config.rules.preparation import NOT_READ
from rlhf.data.files.prepared import CARD
from rlhf.errors import ConfigError, nearest

SHARED = ("model", "data", "strategy", "rollout", "logger", "callbacks", "export", "seed")
"""What is passed on to every stage, as it was typed."""

ACCEPTED = {
    "train": SHARED,
    "collect": ("data", "strategy", "logger", "seed"),
    "merge": (),
    "evaluate": ("data", "strategy", "logger", "seed"),
    "prepare": ("data", "logger"),
}
"""Which of those each verb has."""

REFUSED = {"prepare": {f"data.{name}" for name in NOT_READ}}
"""Keys of what a verb has that mean something to other verbs only."""

SEARCHPATH = "hydra.searchpath"
"""Folders with options of one's own: every stage finds them."""

COLLECTED = "preferences.jsonl"
FILES = ("data.path", "synthetic.path")
"""Keys whose value is what a stage wrote, and not its directory."""


@dataclass
class Plan:
    """The stages that will run, in order, and what was typed for each.

    Attributes:
        skipped: stages whose `when` is not so, or that nothing needs, with what takes the place of their result (a
            model), if anything.
        given: finished runs that take the place of a stage's result.
    """

    stages: dict[str, StageConfig]
    shared: list[str]
    own: dict[str, list[str]]
    skipped: dict[str, str | None] = field(default_factory=dict)
    given: dict[str, Path] = field(default_factory=dict)


def name_of(override: str) -> str:
    """The key or group that an override sets."""
    return re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]


def separate(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the pipeline's own configuration takes, and what may belong to a single stage."""
    ours = (*SHARED, "pipeline", "stages", "rounds", "gates", "parallel", "dry_run", "hydra")
    mine = [item for item in overrides if name_of(item).split(".")[0] in ours]
    return mine, [item for item in overrides if item not in mine]


def plan(config: PipelineConfig, typed: Sequence[str], single: Sequence[str]) -> Plan:
    """Which stages run, with which overrides.

    Args:
        typed: overrides of the pipeline itself. single: those of single stages, `STAGE.KEY=VALUE`.

    Raises:
        ConfigError: no such stage, or a parent that is no earlier stage.
    """
    shared = [item for item in typed if name_of(item).split(".")[0] in SHARED or name_of(item) == SEARCHPATH]
    stages = written_out(config)
    result = Plan({}, shared, {name: [] for name in stages})
    # What was typed for one round counts more than what was typed for all.
    for item in sorted(single, key=lambda item: round_of(item.lstrip("+~")) is not None):
        stage, _, rest = item.lstrip("+~").partition(".")
        # The name of a stage of the rounds means all of them.
        mine = [name for name in stages if stage in (name, template_of(name))]
        if not mine or not rest:
            near = nearest(stage, [*config.stages, *stages, *SHARED])
            raise ConfigError(
                f"{name_of(item)}: not a key of the pipeline, nor of a stage{near}; "
                f"stages are {', '.join(stages)}: write STAGE.KEY=VALUE"
            )
        prefix = item[: len(item) - len(item.lstrip("+~"))]
        for name in mine:
            result.own[name].append(f"{prefix}{rest}")
    seen: set[str] = set()
    for name, spec in stages.items():
        for key, parents in spec.parents.items():
            for parent in listed(parents):
                if parent not in seen:
                    raise ConfigError(f"stages.{template_of(name)}.parents.{key}: {parent} is not an earlier stage")
        seen.add(name)
        if spec.run is not None:
            result.given[name] = _given(name, spec.run)
        elif applies(spec, config):
            result.stages[name] = spec
        else:
            result.skipped[name] = base_of(config) if spec.when == "weights_missing" else None
    if result.given:
        _leave_out_unneeded(result, stages)
    return result


def _given(name: str, run: str) -> Path:
    """Raises:
    ConfigError: it is no folder.
    """
    if not Path(run).is_dir():
        raise ConfigError(f"stages.{name}.run: {run} is not a folder; pass a finished run, or a model folder")
    return Path(run).absolute()


def _leave_out_unneeded(planned: Plan, stages: Mapping[str, StageConfig]) -> None:
    """Stages on which only stages build that don't run, since others take their place."""
    for name in reversed(list(planned.stages)):
        children = [child for child, spec in stages.items() if name in parents_of(spec)]
        if children and not any(child in planned.stages for child in children):
            del planned.stages[name]
            planned.skipped[name] = None


def shortened(planned: Plan, config: PipelineConfig, rounds: int, kept: Collection[str]) -> None:
    """End the rounds, in place: stages after them build on those that were done.

    Args:
        rounds: how many were done to their end. kept: stages that have run, or are running.
    """
    rest = {name: spec for name, spec in written_out(config, rounds).items() if round_of(name) is None}
    planned.stages = {
        name: rest.get(name, spec)
        for name, spec in planned.stages.items()
        if name in kept or (name in rest and round_of(name) is None)
    }


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
        if key == "data.path" and all(one in done for one in listed(parent)):
            # What was collected takes the place of the task; it is split as the task is, so that no prompt wanders.
            # What was prepared is split already, by its card.
            data = config.data
            replaced.add("data")
            files = [quoted(written_by(one, planned, done)) for one in listed(parent)]
            parents += [
                "data=jsonl",
                f"data.name={template_of(listed(parent)[0])}",
                f"data.path={files[0] if isinstance(parent, str) else '[' + ','.join(files) + ']'}",
                f"data.seed={data.seed}",
                f"data.val_fraction={data.val_fraction}",
                f"data.test_fraction={data.test_fraction}",
            ]
        elif isinstance(parent, list):
            raise ConfigError(f"stages.{template_of(name)}.parents.{key}: only data.path takes several stages")
        elif parent in done:
            given = written_by(parent, planned, done) if key in FILES else done[parent]
            parents.append(f"{key}={quoted(given)}")
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
        if ((section := name_of(item).split(".")[0]) in ACCEPTED[stage.verb] or name_of(item) == SEARCHPATH)
        and section not in replaced
        and name_of(item) not in REFUSED.get(stage.verb, ())
        and name_of(item) not in named
    ]
    threads = threads_of_each(config)
    shares = [] if threads is None or "strategy" not in ACCEPTED[stage.verb] else [f"strategy.threads={threads}"]
    return [*shared, *shares, *stage.overrides, *parents, *planned.own[name], "resume=true"]


def written_by(name: str, planned: Plan, done: Mapping[str, Path]) -> Path:
    """The data that a stage wrote: the folder of a preparation, by its card, or the file of a collection."""
    stage = planned.stages.get(name)
    prepared = stage.verb == "prepare" if stage is not None else (done[name] / CARD).exists()
    return done[name] if prepared else done[name] / COLLECTED


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
    known: dict[tuple[str, int, str], Config] = {}
    with TemporaryDirectory() as stand_in:
        made = {name: Path(stand_in, str(number)) for number, name in enumerate(planned.stages)}
        for folder in made.values():
            folder.mkdir()
            (folder / COLLECTED).touch()
        made |= planned.given
        for name, stage in planned.stages.items():
            # From the second round on, the stages of a round differ in names and numbers alone.
            alike = template_of(name), min(round_of(name) or 0, 2), " ".join(planned.own[name])
            if alike not in known:
                try:
                    with hydra_session(stage.verb):
                        overrides = overrides_of(name, planned, config, made)
                        known[alike] = to_config(compose_point(overrides, stage.verb))
                        validate(known[alike])
                except ConfigError as error:
                    raise ConfigError(f"stage {name}: {error}") from error
            if names_its_parents(known[alike]):
                free.add(name)
    return free


def commands(planned: Plan, config: PipelineConfig) -> dict[str, str]:
    """What each stage runs, as one would type it; STAGE in brackets is the directory of that stage's run."""
    made = {name: Path(f"<{name}>") for name in planned.stages} | planned.given
    return {
        name: f"python {stage.verb}.py {' '.join(overrides_of(name, planned, config, made))}"
        for name, stage in planned.stages.items()
    }
