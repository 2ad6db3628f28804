"""The sizes that are measured, with random weights made on the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A model of `conf/model`, with sizes replaced.

    Attributes:
        batch: examples of a step.
        tokens_per_microbatch: ours.
        micro_batch: TRL's, without checkpointing.
        large: weights are drawn on the device and written in bf16: making them must not take longer than measuring.
    """

    model: str
    batch: int
    tokens_per_microbatch: int
    micro_batch: int
    sizes: dict[str, int] = field(default_factory=dict)
    large: bool = False

    def request(self, device: str) -> dict[str, Any]:
        """For `benchmarks.prepare`. All read GPT-2's vocabulary, which needs no download; logits are of full size."""
        found: dict[str, Any] = {"model": self.model, "sizes": self.sizes}
        return found | ({"tokenizer": "gpt2", "device": device, "dtype": "bfloat16"} if self.large else {})


QWEN_1_5B = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
"""Qwen2.5-1.5B beside Qwen2.5-0.5B, as published; both have two key–value heads."""

MODELS = {
    "tiny": Shape("tiny", 2, 64, 2, {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64}),
    "gpt2": Shape("gpt2", 32, 16384, 32),
    "0.5B": Shape("qwen2.5-0.5b", 16, 8192, 16, large=True),
    "1.5B": Shape("qwen2.5-0.5b", 16, 8192, 8, QWEN_1_5B, large=True),
}
