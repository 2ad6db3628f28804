"""Dropout, and every other chance that a model takes while it trains, switched off.

Log-probabilities of two passes must be comparable, and a reward model's score must not depend on chance. Architectures
keep rates as modules (`nn.Dropout`), as plain numbers of modules (OPT's `layerdrop`, `F.dropout`'s `p`), or read them
from the configuration in each pass; so the configuration is changed before the model is built, and modules after.
Exports keep the zeros: that is how they were trained, and a tool that trains them on gets the same log-probabilities in
training mode as in evaluation mode.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

RATE = re.compile(r"drop|(?<!router_)jitter")
"""Names of rates: `attn_pdrop`, `layerdrop`, … PhiMoE's `router_jitter_noise` is a threshold, not a rate."""


def dropout_off(config: Any) -> Any:
    """Set every rate of a configuration of `transformers` to 0, in those within it too; in place."""
    from transformers import PreTrainedConfig

    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            dropout_off(value)
        elif _is_rate(name, value):
            setattr(config, name, 0.0)
    return config


def without_dropout(hf: Any) -> Any:
    """Set every rate of a model's modules to 0, in place; those of its configuration too."""
    dropout_off(hf.config)
    for module in hf.modules():
        if "Router" in type(module).__name__:
            module.register_forward_pre_hook(_in_evaluation_mode)
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if _is_rate(name, value):
                setattr(module, name, 0.0)
    return hf


def _in_evaluation_mode(module: nn.Module, inputs: Any) -> None:
    """PhiMoE draws experts at random in training mode; gradients flow through the weights of the best ones as well."""
    module.training = False


def _is_rate(name: str, value: Any) -> bool:
    return isinstance(value, float) and 0 < value <= 1 and RATE.search(name) is not None
