"""Backbones from a folder, a hub name or a seed, as `transformers` classes; safetensors only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rlhf.errors import ConfigError, ParentError
from rlhf.models.language import LanguageModel, ScoreModel, check_logits, hidden_size

if TYPE_CHECKING:
    from rlhf.data.tokenizers import Tokenizer

PAD_TOKEN = "<|pad|>"
"""Added to reward exports whose tokenizer has no pad token of its own (GPT-2) or uses end-of-text for it."""


def load_policy(
    source: str | None, architecture: dict[str, Any], tokenizer: Tokenizer, *, seed: int, value_head: bool = False
) -> LanguageModel:
    """A causal language model in fp32 with dropout off.

    Args:
        source: model folder or hub name; `None` initialises `architecture` at random from `seed`.
        architecture: a `transformers` configuration (`model_type` and sizes), used where `source` is `None`.

    Raises:
        ParentError: the weights can't be found, or the vocabulary does not fit the tokenizer.
        ConfigError: `architecture` is empty or not one of `transformers`.
    """
    hf = _load("causal", source, architecture, tokenizer, seed)
    model = LanguageModel(hf, value_head=value_head)
    if source is not None and not check_logits(model):
        raise ParentError(
            f"model.init={source}: a {hf.config.model_type} changes its logits after the output layer, which this lab "
            "does not support; choose a GPT-2, Llama, Qwen2 or similar model"
        )
    return model


def load_scorer(source: str | None, architecture: dict[str, Any], tokenizer: Tokenizer, *, seed: int) -> ScoreModel:
    """A backbone with a scalar head: `source` may be a causal language model (a new head) or a reward model (its head).

    A new head starts from N(0, 1/√(D+1)) (Stiennon et al. 2020; Huang et al. 2024), and a pad token different from
    end-of-text is made sure of, since `AutoModelForSequenceClassification` scores the last token that is not padding.
    """
    hf = _load("score", source, architecture, tokenizer, seed)
    config = hf.config
    if config.pad_token_id is None or config.pad_token_id == tokenizer.eos_id:
        if tokenizer.pad_id is not None and tokenizer.pad_id != tokenizer.eos_id:
            config.pad_token_id = tokenizer.pad_id
        else:
            if config.vocab_size <= tokenizer.vocab_size:
                hf.resize_token_embeddings(tokenizer.vocab_size + 1, mean_resizing=False)
            config.pad_token_id = tokenizer.vocab_size
    return ScoreModel(hf)


def _load(kind: str, source: str | None, architecture: dict[str, Any], tokenizer: Tokenizer, seed: int) -> Any:
    import transformers

    auto = {
        "causal": transformers.AutoModelForCausalLM,
        "score": transformers.AutoModelForSequenceClassification,
    }[kind]
    extra: dict[str, Any] = {"num_labels": 1} if kind == "score" else {}
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        if source is None:
            hf = auto.from_config(_random_config(architecture, tokenizer, extra), attn_implementation="sdpa")
            fresh_head = True
        else:
            hf, fresh_head = _from_pretrained(auto, source, extra)
        if kind == "score" and fresh_head:
            torch.nn.init.normal_(hf.score.weight, std=1 / math.sqrt(hidden_size(hf) + 1))
    finally:
        torch.set_rng_state(generator_state)
    text_config = hf.config.get_text_config()
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout", "attention_dropout", "dropout"):
        if hasattr(text_config, name):
            setattr(text_config, name, 0.0)
    for module in hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    if text_config.vocab_size < tokenizer.vocab_size:
        raise ParentError(
            f"model.init={source}: the model knows {text_config.vocab_size} tokens, the tokenizer "
            f"{tokenizer.name} has {tokenizer.vocab_size}; pass the model that belongs to the tokenizer"
        )
    hf.config.eos_token_id = tokenizer.eos_id
    return hf.float()


def _random_config(architecture: dict[str, Any], tokenizer: Tokenizer, extra: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if "model_type" not in architecture:
        raise ConfigError("model.init=random: model.architecture needs a model_type and sizes; choose model=tiny or gpt2")
    options = {"vocab_size": tokenizer.vocab_size} | architecture | extra
    tokens = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    try:
        return AutoConfig.for_model(**(options | tokens))
    except ValueError as error:
        raise ConfigError(f"model.architecture.model_type: {architecture['model_type']!r} is not known: {error}") from error


def _from_pretrained(auto: Any, source: str, extra: dict[str, Any]) -> tuple[Any, bool]:
    folder = Path(source)
    if folder.is_dir() and not list(folder.glob("*.safetensors")):
        raise ParentError(
            f"model.init={source}: the folder holds no .safetensors weights "
            "(pickled .bin files are not loaded; convert them with `save_pretrained`)"
        )
    try:
        hf, report = auto.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ParentError(
            f"model.init: the weights of {source} could not be loaded ({reason}); "
            "pass model.init=FOLDER with config.json and safetensors, or model.init=random"
        ) from error
    missing = set(report["missing_keys"]) - {"lm_head.weight"}
    fresh_head = any(key.startswith("score") for key in missing)
    if lost := sorted(key for key in missing if not key.startswith("score")):
        raise ParentError(f"model.init={source}: the weights lack {len(lost)} tensors, first of them {lost[0]}")
    return hf, fresh_head
