"""Weights laid out for products with few rows, as decoding has them, on CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.models.adapters import is_adapted, merged_weight

SMALLEST = 1 << 18
"""Numbers of a weight that is worth it: those of smaller ones stay in a core's cache, where any layout is fast."""

FEWEST_ROWS = 4
"""With fewer rows, a product costs the reading of its weights, in any layout."""

FEWEST_STEPS = 12
"""Packing takes about as long as it saves in that many products with few rows; with 32 rows, in half as many."""


@contextmanager
def packed_weights(model: nn.Module, rows: int, steps: int) -> Iterator[None]:
    """A context in which linear layers multiply by a copy of their weights that oneDNN has laid out for itself, where
    that pays.

    `F.linear` lays them out anew at every product, or has it done with a slower kernel: with 4–64 rows, the copy makes
    matrices of 768 columns 1.2–1.9 times as fast, and an output layer of 50,257 rows 2–3 times. It is made on entering,
    from the weights of that moment, and dropped on leaving; the modules and their parameters stay the same objects.
    There are no gradients within. A layer with an adapter multiplies by the sum of both, so that adapters cost nothing
    here, and the frozen weight below stays as it is.

    Args:
        rows: rows of a product, for most products.
        steps: products that each layer will be asked for.
    """
    swapped = []
    try:
        if rows >= FEWEST_ROWS and steps >= FEWEST_STEPS and torch.backends.mkldnn.is_available():
            below: set[nn.Module] = set()
            for module in model.modules():
                if module in below:
                    continue
                base: Any = module.base_layer if is_adapted(module) else module
                weight = _weight(base, module)
                if weight is not None:
                    # An attribute of the object hides the method of its class; hooks continue to work.
                    module.forward = _product(weight, base.bias, rows)
                    swapped.append(module)
                    below.update(module.modules())
        yield
    finally:
        for module in swapped:
            del module.forward


def _weight(module: nn.Module, layer: nn.Module) -> Tensor | None:
    """The weight [out, in] of a linear layer that is worth packing, in the precision of its products; else `None`.

    Args:
        layer: the module itself, or the adapter around it.
    """
    from transformers.pytorch_utils import Conv1D

    # Derived classes, whose forward may do more, and layers whose forward has been replaced, are left alone.
    if type(module) not in (nn.Linear, Conv1D) or "forward" in vars(module) or "forward" in vars(layer):
        return None
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    # Nor are shards of a weight, which are tensors of another class.
    if type(weight) is not Tensor or weight.device.type != "cpu" or weight.numel() < SMALLEST:
        return None
    if layer is not module:
        weight = merged_weight(layer)
    weight = weight.to(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype)
    known = weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return (weight if type(module) is nn.Linear else weight.t()) if known else None


def _product(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """x ↦ x · weightᵀ + bias, for x [..., in]."""
    multiply = torch.ops.mkldnn._linear_pointwise.default
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    dtype = weight.dtype
    bias = None if bias is None else bias.detach().to(dtype)

    def forward(x: Tensor) -> Tensor:
        return multiply(x.to(dtype), packed, bias, "none", [], "")

    return forward
