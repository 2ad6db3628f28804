"""SmolLM2-135M-Instruct from its 4-bit file: weights in fp32 and the tokenizer, as `from_pretrained` reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file


def unpack(gguf: Path, folder: Path) -> None:
    """Write the model folder; does nothing where it is whole."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (folder / "model.safetensors").exists():
        return
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    weights = {name: w.contiguous() for name, w in model.state_dict().items() if name not in tied}
    save_file(weights, folder / ".part", metadata={"format": "pt"})
    (folder / ".part").rename(folder / "model.safetensors")
