"""Sizes in a model's configuration: which no machine could build, and how long a text they let it read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from rlhf.errors import UserError, first_line

LARGEST = {
    "num_hidden_layers": 2_000,
    "hidden_size": 10**6,
    "intermediate_size": 10**7,
    "num_attention_heads": 10**5,
    "num_key_value_heads": 10**5,
    "head_dim": 10**6,
    "vocab_size": 10**8,
    "max_position_embeddings": 10**9,
    "sliding_window": 10**9,
    "num_local_experts": 10**5,
    "num_experts": 10**5,
}
"""Several times what any published model has; by the names that `transformers` gives to all families."""

NEEDED = ("num_hidden_layers", "hidden_size", "vocab_size", "max_position_embeddings")
"""Those of which every model that has the key has at least one."""


def check_sizes(config: Any, refuse: Callable[[str], UserError]) -> None:
    """Refuse what would be built for hours, layer by layer.

    Args:
        refuse: makes the error of what is wrong, such as `num_hidden_layers=0, …`.

    Raises:
        UserError: a size is negative, or larger than any model's.
    """
    text = config.get_text_config()
    for name, largest in LARGEST.items():
        value = getattr(text, name, None)
        smallest = 1 if name in NEEDED else 0
        if isinstance(value, int) and not smallest <= value <= largest:
            own = text.attribute_map.get(name, name)
            raise refuse(f"{own}={value}, from {smallest} to {largest} are possible")


def check_buildable(auto: Any, config: Any, refuse: Callable[[str], UserError], *, in_memory: bool = True) -> None:
    """Build a model of these sizes without memory, and refuse what fails or what this machine could not hold.

    Args:
        in_memory: whether its weights will stand in this machine's memory in fp32.

    Raises:
        UserError: sizes contradict each other, or are too large.
    """
    check_sizes(config, refuse)
    try:
        with torch.device("meta"):
            hf = auto.from_config(config, trust_remote_code=False)
    except Exception as error:  # an architecture may do anything with untried sizes: division by zero, asserts
        raise refuse(first_line(error)) from error
    size = 4 * sum(weight.numel() for weight in hf.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if in_memory and size > memory:
        raise refuse(f"its weights take {size / 1e9:,.0f} GB in fp32, and this machine has {memory / 1e9:,.0f} GB")


def context_of(hf: Any) -> int | None:
    """Tokens that a text may have; `None` where the architecture sets no bound.

    With `longrope` (Phi-3) these are the ones before which frequencies change: `transformers` takes the other ones for
    all texts of a batch as soon as one of them is longer, so what a short text reads would depend on the others.
    """
    config = hf.config.get_text_config()
    ropes: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kinds = [rope for rope in ropes.values() if isinstance(rope, dict)] or [ropes]
    starts = [rope["original_max_position_embeddings"] for rope in kinds if rope.get("rope_type") == "longrope"]
    known = [*starts, getattr(config, "max_position_embeddings", None)]
    return min((length for length in known if length is not None), default=None)
