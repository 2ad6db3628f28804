"""From last hidden states to logits, as an architecture does it: some scale or cap what the output layer says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.models.logprobs import Head

FACTORS = ("logit_scale", "lm_head_multiplier")
"""Keys of configurations whose value logits are multiplied by (Cohere, Falcon H1)."""

DIVISORS = ("logits_scaling",)
"""Keys whose value they are divided by (Granite)."""

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Keys of the value c in c · tanh(logits / c) (Bello et al. 2016): Gemma 2, RecurrentGemma, xLSTM."""

LARGE = 40.0
"""Logits as large as trained models' largest: a cap of 30 shows in them, as in a random model's it would not."""


@dataclass(frozen=True)
class ScaledHead:
    """cap · tanh(factor · layer(hidden) / cap)."""

    layer: Head
    factor: float
    cap: float | None

    def __call__(self, hidden: Tensor) -> Tensor:
        logits = self.layer(hidden) * self.factor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def head_of(hf: Any) -> Head:
    """The map from last hidden states to the logits of a causal language model of `transformers`."""
    config = hf.config.get_text_config()
    factor = 1.0
    for name in FACTORS:
        factor *= _number(config, name) or 1.0
    for name in DIVISORS:
        factor /= _number(config, name) or 1.0
    cap = next((value for name in CAPS if (value := _number(config, name))), None)
    layer: Head = hf.get_output_embeddings()
    return layer if factor == 1 and cap is None else ScaledHead(layer, factor, cap)


@torch.no_grad()
def head_is_exact(hf: Any) -> bool:
    """Whether `head_of` gives a model's own logits where they are large."""
    layer = hf.get_output_embeddings()
    device = hf.get_input_embeddings().weight.device
    ids = torch.arange(1, min(6, hf.config.get_text_config().vocab_size), device=device)[None]
    head, factor = head_of(hf), 1.0

    def enlarge(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal factor
        factor = LARGE / max(float(nn.functional.linear(inputs[0].float(), layer.weight.float()).abs().max()), 1e-6)
        return (inputs[0] * factor, *inputs[1:])

    states = hf.base_model(input_ids=ids, use_cache=False).last_hidden_state
    hook = layer.register_forward_pre_hook(enlarge)
    try:
        own = hf(input_ids=ids, use_cache=False).logits.float()
    finally:
        hook.remove()
    # Relative, since logits of some architectures are scaled down by their width.
    return torch.allclose(head(states * factor).float(), own, atol=1e-3 * float(own.abs().max()), rtol=1e-3)


def _number(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
