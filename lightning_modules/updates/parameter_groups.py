"""Which parameters share a learning rate and a decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def parameter_groups(
    trained: Mapping[str, nn.Module], rates: Mapping[str, float], weight_decay: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """AdamW's groups, and the name in `rates` that each belongs to. Biases, norms and other vectors are not decayed.

    Args:
        rates: peak learning rates by model, and by part of one: `policy.value_head` before `policy`.
    """
    parts: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for model, module in trained.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                owner = max((part for part in rates if f"{model}.{name}.".startswith(f"{part}.")), key=len)
                parts[owner].append(parameter)
    groups, names = [], []
    for part, parameters in parts.items():
        for decay, chosen in (
            (weight_decay, [p for p in parameters if p.ndim >= 2]),
            (0.0, [p for p in parameters if p.ndim < 2]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": rates[part], "peak_lr": rates[part]})
                names.append(part)
    return groups, names
