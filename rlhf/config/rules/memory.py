"""Refusals about what saves memory: adapters, quantised weights, offloading, split layers. One sentence each."""

from __future__ import annotations

from importlib.util import find_spec

from rlhf.config.schema import TrainConfig
from rlhf.config.sections import ModelConfig
from rlhf.config.verbs.planning import PlanConfig
from rlhf.errors import ConfigError


def adapter(config: TrainConfig) -> None:
    """Adapters, and keys that do nothing without them."""
    model = config.model
    if model.adapter == "none":
        usual = ModelConfig()
        for name in ("lora_r", "lora_alpha", "lora_targets"):
            value = getattr(model, name)
            if value != getattr(usual, name):
                shown = ",".join(value) if isinstance(value, list) else f"{value:g}"
                raise ConfigError(f"model.{name}: {shown} would do nothing; add model.adapter=lora, or leave it out")
    elif config.algo.starts_from is None and (model.init == "random" or (model.init == "auto" and not model.path)):
        raise ConfigError(
            "model.adapter: lora does not train the weights below the adapters, and here they are random; pretrain "
            "with model.adapter=none, or give model.init=FOLDER"
        )
    elif not model.lora_targets:
        raise ConfigError("model.lora_targets: empty; name layers, or pass model.lora_targets=[all-linear]")


def quantized(config: TrainConfig) -> None:
    """Frozen weights of 8 or 4 bits: where they can be."""
    model = config.model
    if model.quantize == "none":
        return
    if model.adapter == "none":
        raise ConfigError(
            f"model.quantize: {model.quantize} weights can't be trained themselves; add model.adapter=lora"
        )
    if model.init == "random":
        raise ConfigError(
            f"model.quantize: {model.quantize} is for weights that were trained; pass model.init=pretrained, a run "
            "directory or a model folder, or model.quantize=none"
        )
    if config.strategy.accelerator == "cpu":
        raise ConfigError(
            f"model.quantize: {model.quantize} needs a GPU, and this is strategy.accelerator=cpu; pass strategy=gpu or "
            "model.quantize=none"
        )
    if config.strategy.layout not in ("single", "ddp"):
        raise ConfigError(
            f"model.quantize: {model.quantize} weights can't be sharded; with strategy.layout={config.strategy.layout} "
            "pass model.quantize=none"
        )
    if config.rollout.engine == "vllm" and config.algo.on_policy:
        raise ConfigError(
            f"model.quantize: {model.quantize} with rollout.engine=vllm would sample from other weights than it "
            "trains; pass rollout=torch"
        )


def quantizer(config: TrainConfig) -> None:
    """What quantises must be installed."""
    if config.model.quantize != "none" and find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"model.quantize: {config.model.quantize} needs bitsandbytes; pip install -e '.[quant]', or pass "
            "model.quantize=none"
        )


def offload(config: TrainConfig) -> None:
    """Activations in the memory of the host: whose they are not already."""
    if config.strategy.activation_offload and config.strategy.accelerator == "cpu":
        raise ConfigError(
            "strategy.activation_offload: true moves activations from a GPU to the host, and this is "
            "strategy.accelerator=cpu; pass strategy.gradient_checkpointing=true to save memory here"
        )


def tensor_parallel(config: TrainConfig) -> None:
    """Layers split over processes: with which other keys they can be."""
    strategy, size = config.strategy, config.strategy.tensor_parallel
    if size == 1:
        return
    if isinstance(config, PlanConfig):
        raise ConfigError(
            f"strategy.tensor_parallel: {size} can't be planned: plan.py has no model of the memory of split layers; "
            "pass strategy.tensor_parallel=1, which needs more memory"
        )
    if strategy.layout not in ("fsdp", "zero2"):
        raise ConfigError(
            f"strategy.tensor_parallel: {size} requires strategy=fsdp or zero2; with strategy.layout={strategy.layout} "
            "leave it out"
        )
    if isinstance(strategy.devices, int) and (strategy.devices * strategy.nodes) % size:
        raise ConfigError(
            f"strategy.tensor_parallel: {size} does not divide strategy.devices={strategy.devices} times "
            f"strategy.nodes={strategy.nodes}"
        )
    if strategy.shard_size is not None:
        raise ConfigError(
            f"strategy.tensor_parallel: {size} with strategy.shard_size={strategy.shard_size} would make a mesh of "
            "three dimensions, which this lab does not have; leave one of them out"
        )
    if config.model.adapter != "none":
        raise ConfigError(
            f"strategy.tensor_parallel: {size} does not split layers that carry adapters; pass model.adapter=none or "
            "strategy.tensor_parallel=1"
        )
    for name, value in (("compile", strategy.compile), ("activation_offload", strategy.activation_offload)):
        if value:
            raise ConfigError(
                f"strategy.tensor_parallel: {size} with strategy.{name}=true is not supported; leave one of them out"
            )
