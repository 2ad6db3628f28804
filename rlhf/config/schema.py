"""The whole configuration of one training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlhf.config.algorithms.base import AlgoConfig
from rlhf.config.algorithms.sft import SFTConfig
from rlhf.config.keys import key
from rlhf.config.scoring import ScoringConfig
from rlhf.config.sections import (
    CallbacksConfig,
    DataConfig,
    ExportConfig,
    LoggerConfig,
    LoopConfig,
    ModelConfig,
    RolloutConfig,
    StrategyConfig,
)


@dataclass
class TrainConfig:
    """Everything that `train.py` needs to know."""

    algo: AlgoConfig = field(default_factory=SFTConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: ScoringConfig = field(default_factory=ScoringConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    seed: int = key(1, "initialisation, order and sampling", ge=0, le=2**32 - 1)
    resume: bool = key(False, "continue the same experiment where it stopped; start it where there is none")
