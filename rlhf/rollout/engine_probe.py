"""Which decoder is exact for a model; found out by trying, as layouts are (`rlhf/models/layout/probe.py`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import ConfigError, first_line
from rlhf.models.language import LanguageModel
from rlhf.models.layout.layouts import layout_of
from rlhf.rollout.decoding import Decoder
from rlhf.rollout.own_cache import OwnCacheDecoder
from rlhf.rollout.sampling import Sampling

log = logging.getLogger("rlhf")

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Nats between the log-probability of a token as it is drawn and in a plain pass."""

NEW_TOKENS = 4

DECODERS: dict[str, Callable[..., Any]] = {
    "slots": Decoder,
    "own": OwnCacheDecoder,
    "none": partial(OwnCacheDecoder, use_cache=False),
}
"""Slots in one key–value cache; the cache that `transformers` makes for the model; no cache. From fast to slow."""

_said: set[str] = set()


def decoder_of(model: LanguageModel) -> Callable[..., Any]:
    """The fastest decoder that is exact for a model; it is tried once, and copies of the model know.

    Raises:
        ConfigError: none is.
    """
    if not hasattr(model.hf, "_rlhf_decoder"):
        model.hf._rlhf_decoder = _choose(model)
    return DECODERS[model.hf._rlhf_decoder]


@torch.no_grad()
def _choose(model: LanguageModel) -> str:
    kind = model.hf.config.model_type
    reason = ""
    for name, decoder in DECODERS.items():
        # Slots hold keys and values alone, which is what trees of tokens need as well.
        if name == "slots" and layout_of(model.hf) != "tree":
            continue
        reason = _differs(model, decoder)
        if not reason:
            if name == "none" and kind not in _said:
                _said.add(kind)
                log.warning(
                    "rollout: %s is sampled without a cache, since its own is not exact; slow for long texts", kind
                )
            return name
    raise ConfigError(
        f"rollout.engine: torch can't sample from a {kind}: {reason}; pass train.samples=0 to train without samples"
    )


def _differs(model: LanguageModel, decoder: Callable[..., Any]) -> str:
    """Why what is drawn is not what plain passes say; empty where it is."""
    embedding = model.hf.get_input_embeddings().weight
    first = min(3, model.hf.config.get_text_config().vocab_size - 3)
    # Two of one length, which some decoders continue together, and one of another.
    prompts: Sequence[tuple[int, ...]] = [(first, first + 1), (first + 2, first), (first + 1,)]
    uniforms = np.linspace(0.1, 0.9, len(prompts) * NEW_TOKENS).reshape(len(prompts), NEW_TOKENS)
    drawn: list[list[tuple[int, float]]] = [[] for _ in prompts]
    try:
        for step in decoder(model, prompts, Sampling(NEW_TOKENS), uniforms, stop_ids=(), max_rows=len(prompts)):
            for row, token, logprob in step.entries():
                drawn[row].append((token, logprob))
        rows = [Row(p, (tuple(token for token, _ in found),)) for p, found in zip(prompts, drawn, strict=True)]
        truth = model(collate(rows).to(embedding.device)).logprobs.cpu()
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"
    found = torch.tensor([logprob for row in drawn for _, logprob in row])
    low = embedding.dtype if embedding.is_floating_point() else torch.bfloat16
    quantized = getattr(model.hf, "hf_quantizer", None) is not None or torch.is_autocast_enabled(embedding.device.type)
    far = float((found - truth).abs().max())
    return "" if far < TOLERANCE[torch.bfloat16 if quantized else low] else f"log-probabilities differ by {far:.1g}"
