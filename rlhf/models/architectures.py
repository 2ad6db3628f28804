"""Configurations of `transformers`, and models without weights of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rlhf.data.files.hub import reachable
from rlhf.errors import ConfigError, ParentError, UserError, first_line, nearest
from rlhf.models.dropout import dropout_off, without_dropout
from rlhf.models.fused import fuse_activations
from rlhf.models.layout.probe import guess_layout
from rlhf.models.sizes import check_sizes
from rlhf.storage.adapter_folder import base_of


def skeleton(kind: str, source: str | None, architecture: dict[str, Any], vocabulary: int | None) -> Any:
    """A model of `transformers` as training has it, to be built on the meta device; in torch's default precision.

    Args:
        kind: `causal` or `score`.
        source: model folder or hub name, of which the configuration is read; `None` builds `architecture`.
        vocabulary: entries of the tokenizer, where the architecture doesn't say them.

    Raises:
        ParentError: the configuration can't be found.
        ConfigError: `architecture` is not one of `transformers`.
    """
    import transformers

    extra: dict[str, Any] = {"num_labels": 1} if kind == "score" else {}
    if source is None:
        config = architecture_config(architecture, {"vocab_size": vocabulary} if vocabulary else {}, extra)
    else:
        try:
            source = (base_of(Path(source)) if Path(source).is_dir() else None) or source
            offline = Path(source).is_dir() or not reachable()
            config = transformers.AutoConfig.from_pretrained(
                source, trust_remote_code=False, local_files_only=offline, **extra
            )
        except (OSError, ValueError) as error:
            reason = first_line(error)
            raise ParentError(
                f"model.path: the sizes of {source} could not be read ({reason}); pass model.path=FOLDER with "
                "config.json, or choose a model with sizes of its own, such as model=gpt2"
            ) from error
    auto = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForSequenceClassification
    check_class(auto, config, f"model.init={source or 'random'}")
    check_sizes(config, refusal(source, config))
    options: dict[str, Any] = {"dtype": torch.get_default_dtype(), "trust_remote_code": False}
    try:
        hf = auto.from_config(dropout_off(config), attn_implementation=attention_of(auto, config), **options)
    except Exception as error:  # an architecture may do anything with untried sizes
        raise refusal(source, config)(first_line(error)) from error
    guess_layout(with_backbone(hf))
    return fuse_activations(without_dropout(hf)).train()


def with_backbone(hf: Any) -> Any:
    """Make `base_model` of a model its backbone, in place, where it is the model itself (Llama 4 beside its images)."""
    if hf.base_model is hf and hasattr(hf, "model"):
        hf.base_model_prefix = "model"
    return hf


def check_class(auto: Any, config: Any, where: str) -> None:
    """Refuse an architecture that `transformers` can't build for this task.

    Raises:
        ParentError: it is no causal language model, or has no sequence classifier, which reward models are.
    """
    if type(config) in auto._model_mapping:
        return
    if auto.__name__ == "AutoModelForCausalLM":
        raise ParentError(f"{where}: {config.model_type} is no causal language model in transformers; choose another")
    raise ParentError(
        f"{where}: {config.model_type} can't be a reward model, since transformers has no sequence classifier for it; "
        "choose a model of another family"
    )


def attention_of(auto: Any, config: Any) -> str:
    """The attention that a model is built with: PyTorch's own where the architecture has it."""
    found = auto._model_mapping.get(type(config), None)
    return "sdpa" if getattr(found, "_supports_sdpa", True) else "eager"


def architecture_config(architecture: dict[str, Any], defaults: dict[str, Any], extra: dict[str, Any]) -> Any:
    """A `transformers` configuration of these sizes.

    Args:
        defaults: what the architecture may replace; `extra`: what it may not.

    Raises:
        ConfigError: it is not one of `transformers`.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if "model_type" not in architecture:
        raise ConfigError(
            "model.init=random: model.architecture needs a model_type and sizes; choose model=tiny or gpt2"
        )
    kind = architecture["model_type"]
    try:
        usual = AutoConfig.for_model(kind)
    except ValueError as error:
        raise ConfigError(f"model.architecture.model_type: {kind!r} is not one that transformers knows") from error
    # A misspelt size would be kept as an unused attribute, and the default size would be used silently.
    known = set(usual.to_dict()) | set(usual.attribute_map) | {"rope_theta"}
    if unknown := [key for key in architecture if key not in known]:
        raise ConfigError(f"model.architecture.{unknown[0]}: a {kind} has no such key{nearest(unknown[0], known)}")
    try:
        return AutoConfig.for_model(**(defaults | architecture | extra))
    except (ValueError, TypeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"model.architecture: these sizes make no {kind} the lab can use: {reason}") from error


def refusal(source: str | None, config: Any) -> Callable[[str], UserError]:
    """What is raised of sizes that make no model, of `model.architecture` or of a folder's or the hub's config.json."""
    kind = config.model_type
    if source is None:
        return lambda reason: ConfigError(f"model.architecture: these sizes make no {kind} the lab can use: {reason}")
    return lambda reason: ParentError(
        f"model.init={source}: the sizes in its config.json make no {kind} the lab can use: {reason}; fix the file"
    )
