"""What of a configuration saves memory: adapters on frozen weights, and several models on one backbone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rlhf.config import TrainConfig
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError, ParentError
from rlhf.models.adapters import Lora, add_lora
from rlhf.runs import Parent, Summary
from rlhf.runs.parents import export_config
from rlhf.storage.adapter_folder import base_of
from verbs.train.trainer import accelerator_of

log = logging.getLogger("rlhf")

ADAPTER = "adapter"
"""The folder of a run that holds its adapter alone, beside the merged export."""


def check_offload(config: TrainConfig) -> None:
    """Refuse to move activations from where they are to where they are.

    Raises:
        ConfigError: `strategy.activation_offload` without a GPU.
    """
    if config.strategy.activation_offload and accelerator_of(config.strategy)[0] == "cpu":
        raise ConfigError(
            "strategy.activation_offload: true moves activations from a GPU to the host, and PyTorch sees no GPU here; "
            "pass strategy.gradient_checkpointing=true to save memory"
        )


def adapt(config: TrainConfig, hf: Any) -> None:
    """Adapters as configured, in place; with `model.adapter=none` all weights are trained.

    Raises:
        ConfigError: `model.lora_targets` names a layer that isn't there.
    """
    model = config.model
    if model.adapter == "lora":
        add_lora(hf, Lora(model.lora_r, model.lora_alpha, tuple(model.lora_targets)), config.seed)


def adapter_of(reward: Parent, policy: Parent) -> Path | None:
    """The adapter of a reward run, if it belongs to the weights that the policy starts from; else `None`."""
    if reward.kind != "run" or reward.dir is None or policy.kind == "random":
        return None
    record = Summary.read(reward.dir).parents.get("model.init")
    same = record is not None and Parent.from_record(record).identity == policy.identity
    folder = reward.dir / ADAPTER
    return folder if same and folder.is_dir() else None


def check_same_tokenizer(key: str, folder: Path, tokenizer: Tokenizer) -> None:
    """A reward model, or a reference, reads the policy's token ids, so both must mean the same by them.

    Args:
        key: what names it.

    Raises:
        ParentError: they don't.
    """
    # An adapter's base may have had another chat template than the one that lies beside the adapter.
    content = {} if base_of(folder) is not None else export_config(Parent("folder", folder))
    try:
        theirs = content.get("tokenizer_fingerprint") or load_tokenizer("auto", str(folder)).fingerprint
    except DataError as error:
        raise ParentError(
            f"{key}: {folder} has no tokenizer that can be read ({error}), so it can't be "
            "checked against the policy's tokenizer; put the tokenizer's files beside its weights"
        ) from error
    if theirs != tokenizer.fingerprint:
        raise ParentError(
            f"{key}: the tokenizer or chat template of {folder} differs from the policy's "
            f"({tokenizer.name}); pass one that was trained with this tokenizer"
        )
