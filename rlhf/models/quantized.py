"""Frozen weights in 8 bits (LLM.int8, Dettmers et al. 2022) or 4 bits (NF4, Dettmers et al. 2023), by bitsandbytes."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from rlhf.errors import ConfigError


def quantization(bits: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for `8bit` or `4bit`; none for `none`.

    Products are computed in bf16; norms, embeddings and the scalar head stay in fp32.

    Raises:
        ConfigError: there is no GPU.
    """
    if bits == "none":
        return {}
    if not torch.cuda.is_available():
        raise ConfigError(
            f"model.quantize: {bits} needs a GPU, and PyTorch sees none here; pass model.quantize=none, and to save "
            "memory strategy.gradient_checkpointing=true"
        )
    from transformers import BitsAndBytesConfig

    options: dict[str, Any] = (
        {"load_in_8bit": True}
        if bits == "8bit"
        else {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": torch.bfloat16,
        }
    )
    # Weights are quantised on the device that the process will train on.
    device = int(os.environ.get("LOCAL_RANK", 0))
    return {"quantization_config": BitsAndBytesConfig(**options), "device_map": {"": device}}


def forget_scales(hf: Any) -> Any:
    """Keep the scales of quantised weights out of `state_dict`, in place: they are no parameters, and whoever asks for
    parameters by name, as a checkpoint does, stumbles over them. Frozen weights are built from their parent anyway."""

    def forget(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in [name for name in state if name.startswith(prefix)]:
            if name.removeprefix(prefix) not in ("weight", "bias"):
                del state[name]

    for module in hf.modules():
        if type(module).__name__ in ("Linear8bitLt", "Linear4bit"):
            module.register_state_dict_post_hook(forget)
    return hf
