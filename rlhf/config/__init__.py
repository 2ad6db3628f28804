"""Typed schemas: the one source of defaults, ranges, validation and of the reference in docs."""

from __future__ import annotations

from rlhf.config.algorithms import AlgoConfig, DPOConfig, PPOConfig, PretrainConfig, RewardConfig, SFTConfig
from rlhf.config.judging import EndpointConfig, EvaluateSettings
from rlhf.config.keys import Key, KeyInfo, key, keys, lookup
from rlhf.config.planning import PlanConfig, PlanSettings
from rlhf.config.schema import (
    CallbacksConfig,
    DataConfig,
    ExportConfig,
    LoggerConfig,
    LoopConfig,
    ModelConfig,
    RolloutConfig,
    StrategyConfig,
    TrainConfig,
)
from rlhf.config.validation import validate
from rlhf.config.verbs import (
    VERBS,
    ChatConfig,
    CollectConfig,
    Config,
    EvaluateConfig,
    PipelineConfig,
    ReportConfig,
    SourceConfig,
    StageConfig,
)

ALGORITHMS: dict[str, type[AlgoConfig]] = {
    "pretrain": PretrainConfig,
    "sft": SFTConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
    "ppo": PPOConfig,
}

__all__ = [
    "ALGORITHMS",
    "VERBS",
    "AlgoConfig",
    "CallbacksConfig",
    "ChatConfig",
    "CollectConfig",
    "Config",
    "DPOConfig",
    "DataConfig",
    "EndpointConfig",
    "EvaluateConfig",
    "EvaluateSettings",
    "ExportConfig",
    "Key",
    "KeyInfo",
    "LoggerConfig",
    "LoopConfig",
    "ModelConfig",
    "PPOConfig",
    "PipelineConfig",
    "PlanConfig",
    "PlanSettings",
    "PretrainConfig",
    "ReportConfig",
    "RewardConfig",
    "RolloutConfig",
    "SFTConfig",
    "SourceConfig",
    "StageConfig",
    "StrategyConfig",
    "TrainConfig",
    "key",
    "keys",
    "lookup",
    "validate",
]
