"""Which finished runs and model folders each verb builds on, by the keys that name them."""

from __future__ import annotations

from pathlib import Path

from rlhf.config import (
    ChatConfig,
    CollectConfig,
    Config,
    EvaluateConfig,
    LabelConfig,
    MergeConfig,
    ServeConfig,
    TrainConfig,
    of_assistants,
    plain,
)
from rlhf.config.paths import check_exists
from rlhf.config.verbs.evaluation import EvaluateSettings
from rlhf.errors import ConfigError, ParentError
from rlhf.runs import Parent, resolve_init, resolve_reward_models, resolve_scorer, resolve_source
from rlhf.runs.parents import from_given, is_reward_model
from rlhf.runs.resolve import OTHER_REFERENCE
from rlhf.storage.adapter_folder import base_of

STAGE_OF = {"base": "pretrain"}
"""The stage whose newest run `models.NAME=auto` means, where the name is not a stage's own."""


def find_parents(config: Config, outputs: Path) -> dict[str, Parent]:
    """Parents by dotted key; keys that are left empty have none.

    Raises:
        ParentError: one that is needed, or was given, can't be had.
    """
    if isinstance(config, TrainConfig):
        return _of_training(config, outputs)
    if isinstance(config, CollectConfig):
        return _of_collection(config, outputs)
    if isinstance(config, ChatConfig):
        model = resolve_source("model.init", config.model.init, of_assistants(), outputs)
        return {"model.init": model} | _scorer("chat.reward_model", config.chat.reward_model, model, outputs)
    if isinstance(config, ServeConfig):
        return {"model.init": resolve_source("model.init", config.model.init, of_assistants(), outputs)}
    if isinstance(config, EvaluateConfig):
        return _of_evaluation(config, outputs)
    if isinstance(config, LabelConfig):
        stages = of_assistants()
        found = {f"models.{n}": resolve_source(f"models.{n}", g, stages, outputs) for n, g in config.arena.items()}
        return found | _scorer("reward_model", config.reward_model, None, outputs)
    if isinstance(config, MergeConfig):
        return _of_merge(config)
    return {}


def _of_collection(config: CollectConfig, outputs: Path) -> dict[str, Parent]:
    collect, model = config.collect, None
    if collect.needs_model:
        model = resolve_source("model.init", config.model.init, ["sft"], outputs)
    found = {} if model is None else {"model.init": model}
    for place, given in enumerate(collect.ensemble):
        found |= _scorer(f"collect.ensemble.{place}", given, model, outputs)
    for name, one in (("reward_model", collect.reward_model), ("proxy", collect.proxy)):
        found |= _scorer(f"collect.{name}", one, model, outputs)
    return found


def _of_training(config: TrainConfig, outputs: Path) -> dict[str, Parent]:
    content = plain(config)
    parents = {"model.init": resolve_init(content, outputs)}
    if config.algo.needs_reward and config.reward.uses_model:
        parents |= resolve_reward_models(content, parents["model.init"], outputs)
    if (given := config.algo.other_reference()) is not None:
        parents[OTHER_REFERENCE] = from_given(OTHER_REFERENCE, given, content["model"])
    return parents


def _of_evaluation(config: EvaluateConfig, outputs: Path) -> dict[str, Parent]:
    parents = {
        f"models.{name}": resolve_source(f"models.{name}", str(given), [STAGE_OF.get(name, name)], outputs)
        for name, given in config.models.items()
        if given
    }
    settings = config.evaluation
    followed = _followed(settings, outputs)
    alone = settings.ensemble or settings.reward_model not in (None, "auto") or settings.policies
    if not parents and not alone:
        # Not a rule of the configuration, or --help would need models too.
        raise ConfigError("models: none given; pass models.sft=RUN models.ppo=RUN, or +models.NAME=RUN")
    if settings.proxies and not parents:
        raise ConfigError("models: none given, whose samples evaluation.proxies would choose from; pass models.sft=RUN")
    reference = parents.get(f"models.{settings.reference}", next(iter(parents.values()), None))
    if settings.ensemble:
        for i, given in enumerate(settings.ensemble):
            parents |= _scorer(f"evaluation.ensemble.{i}", given, reference, outputs)
        return parents | followed
    scorer = _scorer("evaluation.reward_model", settings.reward_model, reference, outputs, optional=True)
    if settings.judge == "reward" and not scorer:
        raise ConfigError("evaluation.judge: reward needs a reward model; pass evaluation.reward_model=RUN")
    return parents | scorer | followed


def _followed(settings: EvaluateSettings, outputs: Path) -> dict[str, Parent]:
    """Reward models and runs whose over-optimisation is looked at."""
    found: dict[str, Parent] = {}
    for name, given in settings.proxies.items():
        found |= _scorer(f"evaluation.proxies.{name}", given, None, outputs)
    for name, given in settings.policies.items():
        key = f"evaluation.policies.{name}"
        found[key] = resolve_source(key, given, [], outputs)
    for name, given in settings.rounds.items():
        found |= _scorer(f"evaluation.rounds.{name}", given, None, outputs)
    return found


def _of_merge(config: MergeConfig) -> dict[str, Parent]:
    if not config.models:
        # Not a rule of the configuration, or --help would need models too.
        raise ConfigError("models: none given; pass models=[RUN,RUN]")
    named = {f"models.{number}": given for number, given in enumerate(config.models)}
    if config.merge.init is not None:
        named["merge.init"] = config.merge.init
    for key, given in named.items():
        check_exists(key, given)
    parents = {key: from_given(key, given, reward=True) for key, given in named.items()}
    kinds = {key: is_reward_model(parent) for key, parent in parents.items()}
    for key, parent in parents.items():
        if base_of(Path(str(parent.source))) is not None:
            raise ParentError(
                f"{key}: {parent.dir} holds an adapter and not the weights that it belongs to; pass the run, whose "
                "model/ has it merged in, or merge it where it was trained"
            )
        if kinds[key] != kinds["models.0"]:
            one, other = ("a reward model", "a policy")[:: 1 if kinds[key] else -1]
            raise ParentError(f"{key}: {parent.dir} is {one}, and models.0 is {other}; merge models of one kind")
    return parents


def _scorer(
    key: str, given: str | None, policy: Parent | None, outputs: Path, *, optional: bool = False
) -> dict[str, Parent]:
    if given is None:
        return {}
    parent = resolve_scorer(key, given, policy, outputs)
    if parent is None and not optional:
        raise ParentError(
            f"{key}: auto found no finished reward run with the model's tokenizer below {outputs}; pass {key}=RUN"
        )
    return {key: parent} if parent is not None else {}
