"""What a backward pass needs: computed again, or kept in the memory of the host until then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.errors import ConfigError

SMALLEST = 1 << 16
"""Numbers of a tensor that is worth the way: of smaller ones there are many, and they take no memory to speak of."""


def recompute_activations(hf: Any) -> None:
    """Let a model of `transformers` keep only what enters each block (Chen et al. 2016), with the same gradients.

    Raises:
        ConfigError: the architecture can't (CTRL, JetMoe, the first GPT).
    """
    if not hf.supports_gradient_checkpointing:
        raise ConfigError(
            f"strategy.gradient_checkpointing: transformers has none for a {hf.config.model_type}; pass false, and a "
            "smaller train.tokens_per_microbatch if memory is short"
        )
    # The name until transformers 5.19, and the one since.
    newer = getattr(hf, "activation_checkpointing_enable", None)
    options = {"use_reentrant": False}
    if newer is None:
        hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    else:
        newer(activation_checkpointing_kwargs=options)


@contextmanager
def offloaded(parameters: Iterable[nn.Parameter], kind: str = "cuda") -> Iterator[None]:
    """A context in which tensors of `kind` of device that autograd saves go to pinned host memory, and come back when
    asked for.

    `torch.autograd.graph.save_on_cpu` does so too, but takes the weights along, which matrix products save as well:
    they stay on the device anyway, so that a copy of them would only cost time.
    """
    stay = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> tuple[torch.device | None, Tensor]:
        moves = tensor.device.type == kind and tensor.numel() >= SMALLEST and type(tensor) is Tensor
        if not moves or tensor.untyped_storage().data_ptr() in stay:
            return None, tensor
        # With its strides, which compiled backward passes rely on.
        there = torch.empty_like(tensor, device="cpu", pin_memory=torch.cuda.is_available())
        return tensor.device, there.copy_(tensor)

    def unpack(kept: tuple[torch.device | None, Tensor]) -> Tensor:
        device, tensor = kept
        return tensor if device is None else tensor.to(device, non_blocking=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
