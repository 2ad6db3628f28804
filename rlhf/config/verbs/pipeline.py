"""What `pipeline.py` needs to know: stages as a graph, rounds of them, and what all stages share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.config.keys import key
from rlhf.config.sections import (
    CallbacksConfig,
    DataConfig,
    ExportConfig,
    LoggerConfig,
    ModelConfig,
    RolloutConfig,
    StrategyConfig,
)


@dataclass
class StageConfig:
    """One stage of a pipeline: a run of another verb."""

    verb: str = key("train", "script that runs the stage", choices=("train", "collect", "merge", "evaluate", "prepare"))
    overrides: list[str] = key(list, "overrides, as on the command line of that script")
    parents: dict[str, Any] = key(
        dict,
        "key: stage, whose result becomes the key's value; data.path: reads what it collected or prepared, a list of "
        "stages that of all, and so does synthetic.path; models.0, models.1, …: what a merge is made of",
    )
    when: str = key(
        "always",
        "always; weights_missing: model has no published weights; embedded_task: data has a judge of its own",
        choices=("always", "weights_missing", "embedded_task"),
    )
    gates: dict[str, Any] = key(
        dict,
        "metric of summary.json: {min: …} or {max: …}; a missed gate stops the pipeline; optional: true: may be "
        "absent; end_rounds: true: a missed gate ends the rounds, and the stages after them run",
    )
    each_round: bool = key(False, "the stage is done in every one of `rounds` rounds; see docs/pipeline.md")
    run: str | None = key(None, "a finished run, or a model folder, that takes the place of the stage's result")


@dataclass
class PipelineConfig:
    """Everything that `pipeline.py` needs to know: stages as a graph, and what all of them share."""

    stages: dict[str, StageConfig] = key(
        dict, "the graph, in order; STAGE.KEY=VALUE on the command line sets a key of one"
    )
    rounds: int = key(1, "times that the stages with each_round are done, each building on the round before", ge=1)
    dry_run: bool = key(False, "check all stages, print the command of each, and run nothing")
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    gates: bool = key(True, "stop if the result of a stage misses one of its gates")
    parallel: int = key(
        1,
        "independent stages that run at the same time; on CPUs each gets its share of the cores where "
        "strategy.threads is null",
        ge=1,
        unit="stages",
    )
    seed: int = key(1, "seed of all stages", ge=0, le=2**32 - 1)
