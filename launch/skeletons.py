"""A stage's models from a configuration, without their weights: to be built on the meta device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.build import build_tokenizer
from rlhf.config import PlanConfig, PPOConfig
from rlhf.models.adapters import Lora, add_lora
from rlhf.models.architectures import skeleton
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.offload import recompute_activations
from rlhf.runs import Parent


def trained_models(config: PlanConfig) -> dict[str, Any]:
    """What learns, by name, as `launch/build.py` makes it; to be called with the meta device."""
    models: dict[str, Any] = {}
    if config.algo.name == "reward":
        models["scorer"] = ScoreModel(backbone(config, "score"))
    else:
        shared = isinstance(config.algo, PPOConfig) and config.algo.critic == "shared"
        models["policy"] = LanguageModel(backbone(config, "causal"), value_head=shared)
    if isinstance(config.algo, PPOConfig) and config.algo.critic == "separate":
        models["critic"] = ScoreModel(backbone(config, "score", reward_source(config)))
    for model in models.values():
        adapt(config, model.hf)
        if config.strategy.gradient_checkpointing:
            recompute_activations(model.hf)
    return models


def frozen_models(config: PlanConfig) -> dict[str, Any]:
    """PPO's reference and reward model."""
    if config.algo.name != "ppo":
        return {}
    models = {
        "reference": LanguageModel(backbone(config, "causal")),
        "reward": ScoreModel(backbone(config, "score", reward_source(config))),
    }
    for model in models.values():
        model.requires_grad_(False)
    return models


def backbone(config: PlanConfig, kind: str, source: str | None = None) -> Any:
    """A model of `transformers` of the sizes that are configured, or of a folder's."""
    model = config.model
    if source is None and model.init not in ("auto", "pretrained", "random"):
        source = folder_of(model.init)
    if source is None and not model.architecture.get("model_type"):
        source = model.path
    vocabulary = None
    if source is None and "vocab_size" not in model.architecture:
        vocabulary = build_tokenizer(config, Parent("random")).vocab_size
    return skeleton(kind, source, dict(model.architecture), vocabulary)


def reward_source(config: PlanConfig) -> str | None:
    """The reward model's folder, where one is named; else it is planned as large as the policy."""
    assert isinstance(config.algo, PPOConfig)
    return None if config.algo.reward_model == "auto" else folder_of(config.algo.reward_model)


def folder_of(given: str) -> str:
    """A run's export, or the model folder itself."""
    export = Path(given) / "model"
    return str(export if (export / "config.json").exists() else Path(given))


def adapt(config: PlanConfig, hf: Any) -> None:
    """Adapters on frozen weights, where they are configured."""
    if has_adapters(config):
        model = config.model
        add_lora(hf, Lora(model.lora_r, model.lora_alpha, tuple(model.lora_targets)), config.seed)


def has_adapters(config: PlanConfig) -> bool:
    return config.model.adapter == "lora"


def shared_backbones(config: PlanConfig) -> frozenset[str]:
    """Models on another's frozen weights: the reference on the policy's, a separate critic on the reward model's.

    The reward model may share the policy's too, which a finished run of it would have to show.
    """
    return frozenset({"reference", "critic"} if has_adapters(config) else ())


def forward_options(config: PlanConfig) -> dict[str, Any]:
    """Of the policy's forward pass."""
    if not isinstance(config.algo, PPOConfig):
        return {}
    return {"temperature": config.rollout.temperature, "want_entropy": config.algo.entropy_coef != 0}
