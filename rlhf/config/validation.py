"""Refusals: what a schema's types can't say. Each is one sentence that names the key, its value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec

from rlhf.config.address import check_address, check_installed
from rlhf.config.keys import KeyInfo, keys, lookup
from rlhf.config.paths import check_exists
from rlhf.config.rules.choice import check_choice
from rlhf.config.rules.collection import check_collection
from rlhf.config.rules.data import check_data
from rlhf.config.rules.evaluation import check_evaluation, check_rounds
from rlhf.config.rules.label import check_label
from rlhf.config.rules.logger import check_logger
from rlhf.config.rules.memory import adapter, offload, quantized, quantizer, tensor_parallel
from rlhf.config.rules.merging import check_merge
from rlhf.config.rules.preparation import check_preparation
from rlhf.config.rules.stopping import check_stop_rules
from rlhf.config.schema import TrainConfig
from rlhf.config.sections import SAFE_NAME
from rlhf.config.verbs.label import LabelConfig
from rlhf.config.verbs.pipeline import PipelineConfig
from rlhf.config.verbs.schemas import (
    ChatConfig,
    CollectConfig,
    Config,
    EvaluateConfig,
    MergeConfig,
    PlanConfig,
    PrepareConfig,
    ReportConfig,
)
from rlhf.config.verbs.serve import ServeConfig
from rlhf.errors import ConfigError, nearest

LARGEST = 2**63
"""Whole numbers from here on fit into no tensor and into no file of numbers."""


def validate(config: Config) -> None:
    """Check ranges, choices and the rules between keys.

    Raises:
        ConfigError: the first thing that is wrong, in one sentence.
    """
    for key in keys(config):
        _check_range(key.name, key.info, lookup(config, key.name))
    if isinstance(config, TrainConfig):
        for rule in PLANNED if isinstance(config, PlanConfig) else RULES:
            rule(config)
    else:
        validate_verb(config)


def validate_verb(config: Config) -> None:
    """Rules of the verbs that don't train."""
    if isinstance(config, PrepareConfig):
        _names(config)
        _logger(config)
        check_preparation(config)
        return
    if isinstance(config, MergeConfig):
        check_merge(config)
        return
    if isinstance(config, CollectConfig | EvaluateConfig) and (
        config.data.chat_template or config.data.template_kwargs
    ):
        raise ConfigError(
            "data.chat_template: this reads models as they were trained, and exports carry their chat template and its "
            "arguments; leave it out, or put the template into the model's folder"
        )
    if isinstance(config, CollectConfig | EvaluateConfig | PipelineConfig):
        _names(config)
        _logger(config)
        _data_source(config)
    if not isinstance(config, PipelineConfig | ReportConfig):
        _rollout(config)
        if config.strategy.layout != "single":
            raise ConfigError(
                f"strategy.layout: {config.strategy.layout} is for training; this runs on one device, "
                "choose strategy=cpu or strategy=gpu"
            )
    if isinstance(config, LabelConfig):
        check_label(config)
    if isinstance(config, ServeConfig):
        check_address(config.host, "ask")
        check_installed("serve.py")
    if isinstance(config, CollectConfig):
        check_collection(config.collect, config.data)
        check_choice(config.collect)
    if isinstance(config, EvaluateConfig):
        check_evaluation(config.evaluation, config.data)
        check_rounds(config.evaluation, [name for name, given in config.models.items() if given])
        for name in config.models:
            if not re.fullmatch(SAFE_NAME, name):
                raise ConfigError(f"models.{name}: use letters, digits, '.', '_' and '-' in a name")


def _check_range(name: str, info: KeyInfo, value: object) -> None:
    if isinstance(value, list) and info.choices is not None:
        for item in value:
            _check_range(name, info, item)
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ConfigError(f"{name}: {str(value)[:12]}… is out of range, must be {info.allowed or 'below 2^63'}")
    if not isinstance(value, (int, float, str)) or info.accepts(value):
        return
    if isinstance(value, str):
        suggestion = nearest(value, info.choices or ())
        raise ConfigError(f"{name}: {value!r} is not one of {info.allowed}{suggestion}")
    raise ConfigError(f"{name}: {value:g} is out of range, must be {info.allowed or 'finite'}")


def _names(config: TrainConfig | CollectConfig | EvaluateConfig | PipelineConfig | PrepareConfig) -> None:
    named = {"data.name": config.data.name}
    if isinstance(config, TrainConfig | PipelineConfig):
        named["model.name"] = config.model.name
    for name, value in named.items():
        if not re.fullmatch(SAFE_NAME, value):
            raise ConfigError(
                f"{name}: {value!r} can't be part of a directory's name; use letters, digits, '.', '_' and '-'"
            )


def _logger(config: TrainConfig | CollectConfig | EvaluateConfig | PipelineConfig | PrepareConfig) -> None:
    check_logger(config.logger)


def _data_source(config: TrainConfig | CollectConfig | EvaluateConfig | PipelineConfig) -> None:
    check_data(config.data)


def _length(config: TrainConfig) -> None:
    data, rollout = config.data, config.rollout
    for name in ("n_positions", "max_position_embeddings"):
        context = config.model.architecture.get(name)
        if isinstance(context, int) and data.max_length > context:
            raise ConfigError(
                f"data.max_length: {data.max_length} is longer than the model's context of {context} tokens; "
                f"pass data.max_length={context} or less"
            )
    samples_at_evaluation = config.algo.answers() and config.callbacks.samples and config.train.samples > 0
    if (config.algo.on_policy or samples_at_evaluation) and rollout.max_new_tokens >= data.max_length:
        raise ConfigError(
            f"rollout.max_new_tokens: {rollout.max_new_tokens} leaves no room for a prompt within "
            f"data.max_length={data.max_length}; it must be smaller"
        )


def _weights(config: TrainConfig) -> None:
    model = config.model
    folder = model.init not in ("auto", "pretrained", "random")
    if model.init == "pretrained" and not model.path:
        raise ConfigError(
            f"model.init: pretrained needs model.path, and model={model.name} has none; "
            "pass model.path=FOLDER or model.init=random"
        )
    if model.init == "random" and not model.architecture.get("model_type"):
        raise ConfigError(
            f"model.init: random needs model.architecture with a model_type and sizes, which model={model.name} lacks; "
            "choose model=tiny or model=gpt2, or give model.init=pretrained"
        )
    if model.init == "auto" and not model.path and not model.architecture.get("model_type"):
        raise ConfigError(f"model.path: missing; model={model.name} needs model.path=NAME or model.path=FOLDER")
    if model.tokenizer == "auto" and not model.path and not folder:
        raise ConfigError(
            "model.tokenizer: auto takes the tokenizer of model.path, which is not set; pass tiny or gpt2"
        )


def _loop(config: TrainConfig) -> None:
    loop, warmup = config.train, config.algo.warmup_steps
    if loop.max_steps is None and loop.epochs is None:
        raise ConfigError(
            "train.max_steps: null, and train.epochs is null too; the run would never end, set one of them"
        )
    if warmup and loop.max_steps is not None and warmup >= loop.max_steps:
        raise ConfigError(
            f"algo.warmup_steps: {warmup} does not end before train.max_steps={loop.max_steps}; "
            "it must be smaller, or null for a tenth of it"
        )


def _strategy(config: TrainConfig) -> None:
    strategy = config.strategy
    sharded = strategy.layout in ("fsdp", "zero2")
    for name, value, off in (
        ("shard_size", strategy.shard_size, None),
        ("cpu_offload", strategy.cpu_offload, False),
    ):
        if value != off and not sharded:
            raise ConfigError(
                f"strategy.{name}: {value} requires strategy=fsdp or zero2; with strategy.layout={strategy.layout} "
                "leave it out"
            )
    ranks = strategy.devices * strategy.nodes if isinstance(strategy.devices, int) else None
    if strategy.shard_size is not None and ranks is not None and ranks % strategy.shard_size:
        raise ConfigError(
            f"strategy.shard_size: {strategy.shard_size} does not divide strategy.devices={strategy.devices} times "
            f"strategy.nodes={strategy.nodes}"
        )
    if strategy.layout == "single":
        if isinstance(strategy.devices, int) and strategy.devices > 1:
            raise ConfigError(
                f"strategy.devices: {strategy.devices} with strategy.layout=single, which uses one; choose strategy=ddp"
            )
        if strategy.nodes > 1:
            raise ConfigError(
                f"strategy.nodes: {strategy.nodes} with strategy.layout=single, which uses one; choose strategy=ddp"
            )


def _rollout(config: TrainConfig | CollectConfig | EvaluateConfig | ChatConfig | LabelConfig | ServeConfig) -> None:
    if config.rollout.engine != "vllm":
        return
    if isinstance(config, ChatConfig | LabelConfig):
        raise ConfigError("rollout.engine: vllm doesn't answer one question at a time; talk with rollout=torch")
    if isinstance(config, ServeConfig):
        raise ConfigError("rollout.engine: vllm has a server of its own: vllm serve RUN/model; here pass rollout=torch")
    if find_spec("vllm") is None:
        raise ConfigError(
            "rollout.engine: vllm is not installed here; pip install -e '.[vllm]' (on a machine without a GPU: "
            "tests/integration/vllm.sh), or pass rollout=torch"
        )
    if config.strategy.layout != "single":
        raise ConfigError(
            f"rollout.engine: vllm has one copy of the weights in one process; with strategy.layout="
            f"{config.strategy.layout} pass rollout=torch"
        )


def _algorithm(config: TrainConfig) -> None:
    config.algo.rules(config)


def _files(config: TrainConfig) -> None:
    for name, path in config.algo.files().items():
        check_exists(name, path)


RULES: tuple[Callable[[TrainConfig], None], ...] = (
    _names,
    _logger,
    _data_source,
    _length,
    _weights,
    adapter,
    quantized,
    quantizer,
    offload,
    _loop,
    check_stop_rules,
    _strategy,
    tensor_parallel,
    _rollout,
    _algorithm,
    _files,
)

HERE = (_data_source, _rollout, quantizer, _files)
PLANNED = tuple(rule for rule in RULES if rule not in HERE)
"""For `plan.py`: what data and libraries this machine has is not asked, since the run may be meant for another."""
