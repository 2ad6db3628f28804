"""Typed schemas: the one source of defaults, ranges, validation and of the reference in docs."""

from __future__ import annotations

from rlhf.config.algorithms import AlgoConfig, DPOConfig, PPOConfig, PretrainConfig, RewardConfig, SFTConfig
from rlhf.config.keys import Key, KeyInfo, key, keys, lookup
from rlhf.config.schema import (
    CallbacksConfig,
    DataConfig,
    LoggerConfig,
    LoopConfig,
    ModelConfig,
    RolloutConfig,
    StrategyConfig,
    TrainConfig,
)
from rlhf.config.validation import validate

ALGORITHMS: dict[str, type[AlgoConfig]] = {
    "pretrain": PretrainConfig,
    "sft": SFTConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
    "ppo": PPOConfig,
}

__all__ = [
    "ALGORITHMS",
    "AlgoConfig",
    "CallbacksConfig",
    "DPOConfig",
    "DataConfig",
    "Key",
    "KeyInfo",
    "LoggerConfig",
    "LoopConfig",
    "ModelConfig",
    "PPOConfig",
    "PretrainConfig",
    "RewardConfig",
    "RolloutConfig",
    "SFTConfig",
    "StrategyConfig",
    "TrainConfig",
    "key",
    "keys",
    "lookup",
    "validate",
]
