"""SmolLM2-135M-Instruct from its 4-bit file: weights in fp32 and the tokenizer, as `from_pretrained` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence


def unpack(gguf: Path, folder: Path) -> None:
    """Write the model folder; does nothing where it is whole."""
    from transformers import AutoModelForCausalLM

    if (folder / "model.safetensors").exists():
        return
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer_of(gguf, model.config).save_pretrained(folder)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    weights = {name: w.contiguous() for name, w in model.state_dict().items() if name not in tied}
    save_file(weights, folder / ".part", metadata={"format": "pt"})
    (folder / ".part").rename(folder / "model.safetensors")


def tokenizer_of(gguf: Path, config: Any) -> Any:
    """The tokenizer of the file, with the ids of special tokens that the model's configuration took from it.

    `transformers` reads vocabulary and merges. What it adds is not the file's: 5.17 takes the beginning-of-text token
    for the end of texts, and 5.17 to 5.24 split texts as GPT-2 does. SmolLM2's own tokenizer sets digits apart first
    (`tokenizer.ggml.pre` is `smollm`), which it was trained with: otherwise the two line ends in front of a numbered
    list are two tokens where they were one.
    """
    from transformers import AutoTokenizer

    longest = config.max_position_embeddings
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, model_max_length=longest)
    ids = {name: getattr(config, f"{name}_id", None) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    for name, number in ids.items():
        if number is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))
    digits, rest = Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([digits, rest])
    return tokenizer
