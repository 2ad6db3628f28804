"""Typed schemas: the one source of defaults, ranges, validation and of the reference in docs."""

from __future__ import annotations

from rlhf.config.algorithms import algorithms, of_assistants, of_reward_models, of_scorers
from rlhf.config.algorithms.base import AlgoConfig
from rlhf.config.algorithms.dpo import DPOConfig
from rlhf.config.algorithms.on_policy import OnPolicyConfig
from rlhf.config.algorithms.ppo import PPOConfig
from rlhf.config.algorithms.pretrain import PretrainConfig
from rlhf.config.algorithms.reward import RewardConfig
from rlhf.config.algorithms.sft import SFTConfig
from rlhf.config.keys import Key, KeyInfo, key, keys, lookup
from rlhf.config.schema import TrainConfig
from rlhf.config.scoring import ScoringConfig, reward_models, source_name
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
from rlhf.config.validation import validate
from rlhf.config.verbs.evaluation import EndpointConfig, EvaluateSettings
from rlhf.config.verbs.label import LabelConfig
from rlhf.config.verbs.pipeline import PipelineConfig, StageConfig
from rlhf.config.verbs.planning import PlanConfig, PlanSettings
from rlhf.config.verbs.preparation import PrepareConfig
from rlhf.config.verbs.schemas import (
    VERBS,
    ChatConfig,
    CollectConfig,
    Config,
    EvaluateConfig,
    MergeConfig,
    ReportConfig,
    SourceConfig,
    plain,
)
from rlhf.config.verbs.serve import ServeConfig

__all__ = [
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
    "LabelConfig",
    "LoggerConfig",
    "LoopConfig",
    "MergeConfig",
    "ModelConfig",
    "OnPolicyConfig",
    "PPOConfig",
    "PipelineConfig",
    "PlanConfig",
    "PlanSettings",
    "PrepareConfig",
    "PretrainConfig",
    "ReportConfig",
    "RewardConfig",
    "RolloutConfig",
    "SFTConfig",
    "ScoringConfig",
    "ServeConfig",
    "SourceConfig",
    "StageConfig",
    "StrategyConfig",
    "TrainConfig",
    "algorithms",
    "key",
    "keys",
    "lookup",
    "of_assistants",
    "of_reward_models",
    "of_scorers",
    "plain",
    "reward_models",
    "source_name",
    "validate",
]
