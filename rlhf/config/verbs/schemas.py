"""What the other verbs need to know: collect preferences, evaluate, merge, chat, report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from rlhf.config.endpoint import ServerConfig
from rlhf.config.keys import key
from rlhf.config.schema import TrainConfig
from rlhf.config.sections import (
    DataConfig,
    LoggerConfig,
    StrategyConfig,
)
from rlhf.config.sources import SamplingConfig, SourceConfig
from rlhf.config.verbs.evaluation import EvaluateSettings
from rlhf.config.verbs.label import LabelConfig
from rlhf.config.verbs.pipeline import PipelineConfig
from rlhf.config.verbs.planning import PlanConfig
from rlhf.config.verbs.preparation import PrepareConfig
from rlhf.config.verbs.serve import ServeConfig


@dataclass
class AnnotatorConfig(ServerConfig):
    """An annotator behind an OpenAI-compatible chat endpoint: a service, or serve.py or vLLM on this machine."""

    mode: str = key(
        "pairs",
        "pairs: each two answers of a prompt, in both orders, ranked by wins: K · (K − 1) calls for K answers; scores: "
        "each answer alone, for helpfulness, harmlessness and honesty, ranked by the lowest of them: K calls",
        choices=("pairs", "scores"),
    )


@dataclass
class CollectSettings:
    """How preferences are collected: several answers per prompt, ranked by an annotator."""

    annotator: str = key(
        "auto",
        "gold (the embedded task's judge, with noise), reward (a reward model), endpoint (a language model that "
        "reads), people (it stops, and continues after label.py); auto: gold where the task has a judge",
        choices=("auto", "gold", "reward", "endpoint", "people"),
    )
    answered: float = key(
        1.0, "annotator=people: share of the prompts that must have a vote, or a skip, to continue", gt=0, le=1
    )
    reward_model: str | None = key(None, "with annotator=reward: auto, a run directory or a model folder")
    samples: int = key(4, "completions sampled per prompt", ge=1, source="Ouyang et al. 2022: 4 to 9 are ranked")
    temperatures: list[float] = key(lambda: [0.7, 1.0, 1.0, 1.3], "temperature of each sample in turn")
    top_k: list[int] = key(lambda: [0, 0, 50, 0], "top-k of each sample in turn; 0: all")
    candidates: int = key(9, "graded answers that are mixed in (the embedded task only)", ge=0)
    noise: float = key(
        1.1, "gold annotator: difference of scores at which the better completion wins in 73%", gt=0, unit="points"
    )
    prompts: int | None = key(None, "number of prompts to use; null: all", ge=1)
    parts: int = key(
        1, "the prompts are dealt into so many parts, by data.seed; rounds of collecting ask one after another", ge=1
    )
    part: int = key(1, "the part that is asked, from 1; after the last part it begins with the first again", ge=1)
    proxy: str | None = key(
        None,
        "a reward model, whose agreement with the new labels is measured on the answers that model.init wrote: a run "
        "directory or a model folder",
    )
    answers: str | None = key(
        None, "file or folder of answers to rank, as label.py reads them; null: they are sampled from model.init"
    )
    select: str | None = key(
        None,
        "which pairs of answers are asked about; null: all answers to each prompt are ranked; random; disagreement: "
        "those about which collect.ensemble differs most; margin: those about which it is least decided; diverse: "
        "pairs far from each other, by the mean state of model.init over the answers",
        choices=("random", "disagreement", "margin", "diverse"),
        source="disagreement: Christiano et al. 2017; margin: Lewis and Gale 1994; diverse: Sener and Savarese 2018",
    )
    comparisons: int | None = key(None, "pairs that collect.select asks about", ge=1)
    ensemble: list[str] = key(list, "reward models, runs or model folders, that disagreement and margin go by")
    exclude: list[str] = key(list, "files of comparisons whose pairs collect.select does not ask about again")
    rubric: str | None = key(
        None,
        "with annotator=endpoint: text file with the rules by which answers are compared, such as a constitution; "
        "null: those of rlhf/evaluation/prompts/compare.txt",
    )
    endpoint: AnnotatorConfig = field(default_factory=AnnotatorConfig)

    @property
    def needs_model(self) -> bool:
        """Whether `model.init` is asked for anything."""
        return self.answers is None or self.select == "diverse"


@dataclass
class CollectConfig:
    """Everything that `collect.py` needs to know."""

    model: SourceConfig = field(default_factory=SourceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: SamplingConfig = field(default_factory=SamplingConfig)
    logger: LoggerConfig = field(default_factory=lambda: LoggerConfig(wandb="off"))
    collect: CollectSettings = field(default_factory=CollectSettings)
    seed: int = key(1, "sampling and the annotator's noise", ge=0, le=2**32 - 1)
    resume: bool = key(False, "continue the same collection where it stopped; do nothing where it is finished")


@dataclass
class EvaluateConfig:
    """Everything that `evaluate.py` needs to know."""

    models: dict[str, Any] = key(dict, "name: run directory or model folder; +models.NAME=RUN adds one")
    data: DataConfig = field(default_factory=DataConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: SamplingConfig = field(default_factory=SamplingConfig)
    logger: LoggerConfig = field(default_factory=lambda: LoggerConfig(wandb="off"))
    evaluation: EvaluateSettings = field(default_factory=EvaluateSettings)
    seed: int = key(1, "sampling; every model draws from a seed of its own", ge=0, le=2**32 - 1)
    resume: bool = key(False, "do nothing if the same evaluation is finished")


@dataclass
class MergeSettings:
    """How the weights of several models become one."""

    method: str = key(
        "linear",
        "linear: the average of the weights (WARM); slerp: of what was learnt since merge.init, on the sphere (WARP); "
        "task_arithmetic: its weighted sum",
        choices=("linear", "slerp", "task_arithmetic"),
        source="Ramé et al. 2024",
    )
    weights: list[float] = key(
        list,
        "a weight for each of models; linear, slerp: shares, divided by their sum; empty: equal shares, for "
        "task_arithmetic 1 each",
    )
    init: str | None = key(
        None, "what all of models were trained from, for slerp, task_arithmetic and towards_init: a run or a folder"
    )
    towards_init: float = key(
        0.0, "share of merge.init in the result: 1 − η of WARP's last step (LITI); 0: none", ge=0, lt=1
    )
    dtype: str = key(
        "auto",
        "precision of the weights; auto: that of the first model",
        choices=("auto", "float32", "bfloat16", "float16"),
    )


@dataclass
class MergeConfig:
    """Everything that `merge.py` needs to know."""

    models: list[str] = key(list, "run directories or model folders of one architecture, tokenizer and kind")
    merge: MergeSettings = field(default_factory=MergeSettings)
    resume: bool = key(False, "do nothing where the same merge is finished")

    def shares(self) -> list[float]:
        """Of each model."""
        count, given = len(self.models), self.merge.weights
        if self.merge.method == "task_arithmetic":
            return given or [1.0] * count
        total = sum(given)
        return [weight / total for weight in given] if given else [1 / count] * count


@dataclass
class ChatSettings:
    """A conversation at the terminal."""

    reward_model: str | None = key(None, "scores are shown beside the answers; auto, a run directory or a folder")
    system: str | None = key(None, "a system message, for models whose template has one")


@dataclass
class ChatConfig:
    """Everything that `chat.py` needs to know."""

    model: SourceConfig = field(default_factory=SourceConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: SamplingConfig = field(default_factory=SamplingConfig)
    chat: ChatSettings = field(default_factory=ChatSettings)
    seed: int = key(1, "sampling", ge=0, le=2**32 - 1)


@dataclass
class ReportConfig:
    """One page about what is there already; `report.py` reads, and runs nothing."""

    path: str | None = key(None, "a run, an evaluation, or a folder of them: a sweep, or all of outputs")
    out: str | None = key(None, "file of the page; null: report.html in that folder")
    language: str = key("en", "language in which the page opens; it has a switch", choices=("en", "zh"))
    files: bool = key(True, "also write every table as CSV and every plot as SVG, to report_files beside the page")
    png: bool = key(False, "also write every plot as PNG; needs matplotlib: pip install -e '.[report]'")


Config: TypeAlias = (
    TrainConfig
    | CollectConfig
    | EvaluateConfig
    | MergeConfig
    | ChatConfig
    | ServeConfig
    | PipelineConfig
    | ReportConfig
    | LabelConfig
    | PrepareConfig
)

VERBS: dict[str, type] = {
    "train": TrainConfig,
    "pipeline": PipelineConfig,
    "collect": CollectConfig,
    "evaluate": EvaluateConfig,
    "merge": MergeConfig,
    "chat": ChatConfig,
    "serve": ServeConfig,
    "plan": PlanConfig,
    "report": ReportConfig,
    "label": LabelConfig,
    "prepare": PrepareConfig,
}
"""The schema of each script, by its name."""


def plain(config: Config) -> dict[str, Any]:
    """The configuration as dictionaries and lists."""
    return asdict(config)
