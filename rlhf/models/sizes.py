"""Sizes in a model's `config.json` that no machine could build, found before anything is built from them."""

from __future__ import annotations

from typing import Any

from rlhf.errors import ParentError

LARGEST = {
    "num_hidden_layers": 10_000,
    "hidden_size": 10**6,
    "intermediate_size": 10**7,
    "num_attention_heads": 10**5,
    "num_key_value_heads": 10**5,
    "head_dim": 10**6,
    "vocab_size": 10**8,
    "max_position_embeddings": 10**9,
    "num_local_experts": 10**5,
    "num_experts": 10**5,
}
"""Several times what any published model has; by the names that `transformers` gives to all families."""


def check_sizes(config: Any, where: str) -> None:
    """Refuse what would be built for hours, layer by layer, or fill the memory.

    Raises:
        ParentError: a size is negative, or larger than any model's.
    """
    text = config.get_text_config()
    for name, largest in LARGEST.items():
        value = getattr(text, name, None)
        if isinstance(value, int) and not 0 <= value <= largest:
            raise ParentError(f"{where}: config.json has {name}={value}, at most {largest} is possible; fix the file")
