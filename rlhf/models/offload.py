"""What a backward pass needs, kept in the memory of the host until it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SMALLEST = 1 << 16
"""Numbers of a tensor that is worth the way: of smaller ones there are many, and they take no memory to speak of."""


@contextmanager
def offloaded(parameters: Iterable[nn.Parameter], kind: str = "cuda") -> Iterator[None]:
    """Within, tensors of `kind` of device that autograd saves go to pinned host memory, and come back when asked for.

    `torch.autograd.graph.save_on_cpu` does so too, but takes the weights along, which matrix products save as well:
    they stay on the device anyway, so that a copy of them would only cost time.
    """
    stay = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def pack(tensor: Tensor) -> tuple[torch.device | None, Tensor]:
        moves = tensor.device.type == kind and tensor.numel() >= SMALLEST and type(tensor) is Tensor
        if not moves or tensor.untyped_storage().data_ptr() in stay:
            return None, tensor
        there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=torch.cuda.is_available())
        return tensor.device, there.copy_(tensor)

    def unpack(kept: tuple[torch.device | None, Tensor]) -> Tensor:
        device, tensor = kept
        return tensor if device is None else tensor.to(device, non_blocking=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
