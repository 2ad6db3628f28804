"""What a module is built from when it is planned: models of the configured sizes, without weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from lightning_modules.base import StageModule
from lightning_modules.preference.reference import Reference
from rlhf.config import OnPolicyConfig, PlanConfig, reward_models
from rlhf.data.rows import Row
from rlhf.models.architectures import skeleton
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.parallel.offload import recompute_activations
from rlhf.rewards.sources import Rewards
from rlhf.rollout.sampling import Sampler
from rlhf.runs import Parent
from verbs.train.adapters import adapt
from verbs.train.build import build_tokenizer, module_class


class Shapes:
    """See `lightning_modules.parts.Parts`. Nothing is trained or sampled with these."""

    def __init__(self, config: PlanConfig) -> None:
        self.config = config
        self.total_steps = 1

    def policy(self, *, value_head: bool = False) -> LanguageModel:
        return LanguageModel(backbone(self.config, "causal"), value_head=value_head)

    def scorer(self) -> ScoreModel:
        return ScoreModel(backbone(self.config, "score"))

    def reference(self) -> LanguageModel:
        return LanguageModel(backbone(self.config, "causal"))

    def reference_logprobs(self, *, per_token: bool = False) -> Reference:
        return Reference({})

    def reward(self) -> Rewards:
        if not self.config.reward.uses_model:
            return Rewards(texts={"texts": lambda prompts, completions: []})
        return Rewards([ScoreModel(backbone(self.config, "score", source)) for source in reward_sources(self.config)])

    def critic(self) -> ScoreModel:
        source = reward_sources(self.config)[0] if self.config.reward.uses_model else None
        return ScoreModel(backbone(self.config, "score", source))

    def sampler(self) -> Sampler:
        return cast(Sampler, None)

    def documents(self) -> Callable[[int], list[Row]] | None:
        return None


def planned_module(config: PlanConfig) -> StageModule:
    """The module as a run would have it; to be called with the meta device."""
    module = module_class(config.algo).build(Shapes(config))
    for frozen in module.frozen().values():
        frozen.requires_grad_(False)
    for model in module.trained().values():
        hf: Any = model.hf
        adapt(config, hf)
        if config.strategy.gradient_checkpointing:
            recompute_activations(hf)
    return module


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


def reward_sources(config: PlanConfig) -> list[str | None]:
    """The reward models' folders, where they are named; else one is planned, as large as the policy."""
    assert isinstance(config.algo, OnPolicyConfig)
    return [None if given == "auto" else folder_of(given) for given in reward_models(config.algo.reward_model)]


def folder_of(given: str) -> str:
    """A run's export, or the model folder itself."""
    export = Path(given) / "model"
    return str(export if (export / "config.json").exists() else Path(given))


def shared_backbones(config: PlanConfig) -> frozenset[str]:
    """Models on another's frozen weights: the reference on the policy's, a separate critic on the reward model's.

    The reward model may share the policy's too, which a finished run of it would have to show. A critic that starts
    from the policy's weights, since no reward model is there, brings its own.
    """
    if config.model.adapter != "lora":
        return frozenset()
    reference = frozenset({"reference"} if config.algo.other_reference() is None else ())
    return reference | ({"critic"} if config.reward.uses_model else frozenset())


def kept_copies(config: PlanConfig, *, on_host: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Models of which an average is kept, the exported one; and those of which the first weights are kept on the
    device, where that is the host: a reference that moves."""
    exported = "scorer" if config.algo.exports == "scorer" else "policy"
    averaged = frozenset({exported} if config.algo.ema_decay is not None else ())
    moves = isinstance(config.algo, OnPolicyConfig) and config.algo.reference_sync_steps is not None
    return averaged, frozenset({"reference"} if moves and on_host else ())
