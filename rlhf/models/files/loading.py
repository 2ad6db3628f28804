"""Backbones from a folder, a hub name or a seed, as `transformers` classes; safetensors only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from rlhf.data.files.hub import reachable
from rlhf.data.templates.stops import as_value
from rlhf.errors import ConfigError, ParentError, first_line
from rlhf.models.adapters import share
from rlhf.models.architectures import architecture_config, attention_of, check_class, refusal, with_backbone
from rlhf.models.dropout import dropout_off, without_dropout
from rlhf.models.files.merging import merge_adapter
from rlhf.models.files.precision import export_dtype, remember, stored_dtype
from rlhf.models.fused import fuse_activations
from rlhf.models.language import LanguageModel, ScoreModel, hidden_size
from rlhf.models.layout.layouts import lay_out, layout_of
from rlhf.models.layout.probe import choose_layout
from rlhf.models.logits import head_is_exact
from rlhf.models.quantized import forget_scales, quantization
from rlhf.models.sizes import check_buildable
from rlhf.progress import ProgressBar
from rlhf.storage.adapter_folder import base_of, holds_head
from rlhf.storage.weights import INDEX, WEIGHTS, shard_names, weight_files

if TYPE_CHECKING:
    from rlhf.data.tokenizers.tokenizer import Tokenizer

PAD_TOKEN = "<|pad|>"
"""Added to reward exports whose tokenizer has no pad token of its own (GPT-2) or uses end-of-text for it."""


def load_policy(
    source: str | None,
    architecture: dict[str, Any],
    tokenizer: Tokenizer,
    *,
    seed: int,
    value_head: bool = False,
    quantize: str = "none",
) -> LanguageModel:
    """A causal language model in fp32 with dropout off, in training mode (gradient checkpointing works in no other).

    Args:
        source: model folder or hub name; `None` initialises `architecture` at random from `seed`.
        architecture: a `transformers` configuration (`model_type` and sizes), used where `source` is `None`.
        quantize: `8bit` or `4bit` linear layers, which can't be trained themselves (`rlhf/models/quantized.py`).

    Raises:
        ParentError: the weights can't be found, or the vocabulary does not fit the tokenizer.
        ConfigError: `architecture` is empty or not one of `transformers`; or nothing is there to quantise with.
    """
    hf = _load("causal", source, architecture, tokenizer, seed, quantize=quantize)
    if not head_is_exact(hf):
        raise ParentError(
            f"model.init={source or 'random'}: architecture {hf.config.model_type} is not supported because it changes "
            "its logits after the output layer in a way that this lab does not know"
        )
    return LanguageModel(hf, value_head=value_head)


def load_scorer(
    source: str | None,
    architecture: dict[str, Any],
    tokenizer: Tokenizer,
    *,
    seed: int,
    new_head: bool = True,
    quantize: str = "none",
    end_id: int | None = None,
) -> ScoreModel:
    """A backbone with a scalar head: `source` may be a causal language model (a new head) or a reward model (its head).

    A new head starts from N(0, 1/√(D+1)) (Stiennon et al. 2020; Huang et al. 2024), and a pad token different from
    end-of-text is made sure of, since `AutoModelForSequenceClassification` scores the last token that is not padding.

    Args:
        end_id: the token that ends the texts, where it is not end-of-text; the pad token is another one.
        new_head: whether a model without a head gets one; false where the scores are needed as they are.
        quantize: as `load_policy`.

    Raises:
        ParentError, ConfigError: as `load_policy`; also a model without a head where `new_head` is false.
    """
    hf = _load("score", source, architecture, tokenizer, seed, new_head, quantize)
    known = hf.config.get_text_config().vocab_size
    own = tokenizer.pad_id if tokenizer.pad_id not in (tokenizer.eos_id, end_id) else None
    pad = tokenizer.vocab_size if own is None else own
    if known <= pad:
        with torch.random.fork_rng(devices=[]):
            hf.resize_token_embeddings(pad + 1, mean_resizing=False)
        # Nobody reads it; a fixed value keeps exports of equal runs equal.
        hf.get_input_embeddings().weight.data[known:] = 0.0
    hf.config.pad_token_id = pad
    return ScoreModel(hf)


def scorer_on(policy: LanguageModel, source: str) -> ScoreModel:
    """A reward model's head and configuration on the weights of a policy's backbone; `load_adapter` fills the head.

    Args:
        policy: without an adapter.
        source: the reward model's folder.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    with torch.device("meta"):
        hf = AutoModelForSequenceClassification.from_config(config)
    setattr(hf, hf.base_model_prefix, share(policy.hf).base_model)
    weight = next(policy.parameters())
    hf.score = torch.nn.Linear(hidden_size(hf), 1, bias=False, device=weight.device)
    lay_out(hf, layout_of(policy.hf))
    return ScoreModel(hf.train())


def _load(
    kind: str,
    source: str | None,
    architecture: dict[str, Any],
    tokenizer: Tokenizer,
    seed: int,
    new_head: bool = True,
    quantize: str = "none",
) -> Any:
    import transformers

    auto = {
        "causal": transformers.AutoModelForCausalLM,
        "score": transformers.AutoModelForSequenceClassification,
    }[kind]
    extra: dict[str, Any] = {"num_labels": 1} if kind == "score" else {}
    where = f"model.init={source or 'random'}"
    with ProgressBar(f"loading {source or 'a random model'}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if source is None:
            hf, fresh_head = _from_architecture(auto, architecture, tokenizer, extra), True
        else:
            # Merged into weights of 4 bits, an adapter would be rounded with them.
            if quantize != "none" and Path(source).is_dir() and base_of(Path(source)) is not None:
                raise ConfigError(
                    f"model.quantize: {quantize} does not go with {source}, an adapter without its model; merge it "
                    "where it was trained and pass the whole model, or pass model.quantize=none"
                )
            hf, fresh_head = _from_pretrained(auto, source, extra, quantization(quantize))
    if kind == "score" and not hasattr(hf, "score"):
        raise ParentError(f"{where}: {hf.config.model_type} has no scalar head on a causal model; choose another")
    if kind == "score" and fresh_head:
        if not new_head:
            raise ParentError(f"{source} is a language model without a reward head; pass the folder of a reward model")
        generator = torch.Generator().manual_seed(seed)
        # Drawn on the CPU and copied: quantised models are on their GPU already, where others would be drawn.
        drawn = torch.empty(hf.score.weight.shape, dtype=hf.score.weight.dtype, device="cpu")
        torch.nn.init.normal_(drawn, std=1 / math.sqrt(hidden_size(hf) + 1), generator=generator)
        hf.score.weight.data.copy_(drawn)
    text_config = without_dropout(hf).config.get_text_config()
    if source is None and text_config.vocab_size < tokenizer.vocab_size:
        raise ConfigError(
            f"model.architecture.vocab_size: {text_config.vocab_size}, but the tokenizer {tokenizer.name} has "
            f"{tokenizer.vocab_size} tokens; pass at least that, or leave it out"
        )
    if text_config.vocab_size < tokenizer.vocab_size:
        raise ParentError(
            f"{where}: the model knows {text_config.vocab_size} tokens, the tokenizer "
            f"{tokenizer.name} has {tokenizer.vocab_size}; pass the model that belongs to the tokenizer"
        )
    theirs = getattr(hf.config, "tokenizer_fingerprint", None)
    if theirs not in (None, tokenizer.fingerprint, tokenizer.former_fingerprint):
        raise ParentError(
            f"{where}: the model was trained with another tokenizer than {tokenizer.name} (its ids or chat template "
            "differ); pass the model that belongs to the tokenizer"
        )
    end_at(hf, tokenizer.stop_ids)
    hf = fuse_activations(with_backbone(hf))
    hf = (forget_scales(hf) if quantize != "none" else hf.float()).train()
    choose_layout(hf, where)
    return hf


def end_at(hf: Any, stop_ids: tuple[int, ...]) -> None:
    """Tell a model's configurations which tokens end a text, as generation and servers read them."""
    hf.config.eos_token_id = as_value(stop_ids)
    if getattr(hf, "generation_config", None) is not None:
        hf.generation_config.eos_token_id = as_value(stop_ids)


def _from_architecture(auto: Any, architecture: dict[str, Any], tokenizer: Tokenizer, extra: dict[str, Any]) -> Any:
    tokens = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    config = architecture_config(architecture, {"vocab_size": tokenizer.vocab_size}, extra | tokens)
    check_class(auto, config, "model.init=random")
    check_buildable(auto, dropout_off(config), refusal(None, config))
    return auto.from_config(config, attn_implementation=attention_of(auto, config), trust_remote_code=False)


def _from_pretrained(auto: Any, source: str, head: dict[str, Any], extra: dict[str, Any]) -> tuple[Any, bool]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    adapter, base = Path(source), base_of(Path(source)) if Path(source).is_dir() else None
    if base is not None:
        hf, fresh_head = _from_pretrained(auto, base, head, extra)
        return remember(merge_adapter(hf, adapter), export_dtype(hf)), fresh_head and not holds_head(adapter)
    folder = Path(source)
    if folder.is_dir() and not weight_files(folder):
        raise ParentError(
            f"model.init={source}: the folder holds no .safetensors weights "
            "(pickled .bin files are not loaded; convert them with `save_pretrained`)"
        )
    place: dict[str, Any] = {"trust_remote_code": False, "local_files_only": folder.is_dir() or not reachable()}
    try:
        if not folder.is_dir() and isinstance(index := try_to_load_from_cache(source, INDEX), str):
            shard_names(Path(index))  # the hub's client does not check the names that it reads from its cache
        config = dropout_off(AutoConfig.from_pretrained(source, **place, **head))
        check_class(auto, config, f"model.init={source}")
        check_buildable(auto, config, refusal(source, config), in_memory=not extra)
        hf, report = auto.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention_of(auto, config),
            use_safetensors=True,
            output_loading_info=True,
            # Without it transformers asks the hub for an adapter, which takes 20 s to fail where there is no network.
            adapter_kwargs={"local_files_only": place["local_files_only"]},
            **place,
            **extra,
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError, StrictDataclassError) as error:
        reason = first_line(error)
        raise ParentError(
            f"model.init: the weights of {source} could not be loaded ({reason}); "
            "pass model.init=FOLDER with config.json and safetensors, or model.init=random"
        ) from error
    missing = set(report["missing_keys"])
    fresh_head = any(key.startswith("score") for key in missing)
    if lost := sorted(key for key in missing if not key.startswith("score")):
        raise ParentError(f"model.init={source}: the weights lack {len(lost)} tensors, first of them {lost[0]}")
    files = weight_files(folder if folder.is_dir() else _snapshot(source))
    return remember(hf, stored_dtype(files)), fresh_head


def _snapshot(source: str) -> Path:
    """The folder in the hub's cache that a model was just loaded from."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(source, name) for name in (WEIGHTS, INDEX))
    return next((Path(path).parent for path in found if isinstance(path, str)), Path(source))
