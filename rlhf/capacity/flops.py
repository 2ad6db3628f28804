"""Useful arithmetic of a step: what the maths needs, not what an implementation spends.

A prompt counts once however many responses follow it; padding, repeated prompts and recomputed activations count
nothing. A multiplication and an addition are two operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.config.algorithms.base import AlgoConfig

TRAIN = 3
"""A backward pass takes twice the arithmetic of the forward pass."""
TRAIN_ADAPTER = 2
"""With frozen weights (LoRA), the half of it that makes their gradients is left out."""


@dataclass(frozen=True)
class Shape:
    """What a transformer's arithmetic depends on.

    Attributes:
        weights: entries of the matrices that every token is multiplied with; embeddings and output layer left out.
        layers, width: attention's sizes; vocabulary: of the output layer.
    """

    weights: int
    layers: int
    width: int
    vocabulary: int


def shape_of(hf: Any) -> Shape:
    """Sizes of a model of `transformers`; embeddings, which are looked up, are no part of them."""
    import torch

    base, config = hf.base_model, hf.config.get_text_config()
    looked_up = {id(module.weight) for module in base.modules() if isinstance(module, torch.nn.Embedding)}
    weights = sum(p.numel() for p in base.parameters() if p.ndim >= 2 and id(p) not in looked_up)
    return Shape(weights, config.num_hidden_layers, config.hidden_size, config.vocab_size)


def forward(shape: Shape, prompt: int, responses: Sequence[int], *, logits: bool) -> float:
    """One pass over a prompt and its responses, each of which reads the prompt and its own earlier tokens.

    Args:
        prompt, responses: lengths in tokens.
        logits: whether response tokens are scored over the vocabulary; scalar heads are too small to count.
    """
    tokens = prompt + sum(responses)
    reads = prompt * (prompt + 1) / 2 + sum(r * prompt + r * (r + 1) / 2 for r in responses)
    scored = sum(responses) if logits else 0
    attention = 4 * shape.layers * shape.width * reads
    return 2 * shape.weights * tokens + attention + 2 * shape.width * shape.vocabulary * scored


def useful(
    algo: AlgoConfig,
    shape: Shape,
    prompt: int,
    responses: Sequence[int],
    *,
    epochs: int = 1,
    train: int = TRAIN,
    reward_models: int = 1,
) -> dict[str, float]:
    """Operations that an example takes, by part of the work: `learning`, and what else its stage has.

    `preparation` falls to each example once a run (DPO's reference); `sampling` and `scoring` are of on-policy
    algorithms, whose example is a prompt with the responses that are drawn.

    Args:
        prompt, responses: lengths in tokens.
        epochs: how often those are learned from.
        train: a forward and a backward pass, in forward passes.
        reward_models: how many score a response.
    """
    policy, scalar = _passes(algo, shape, prompt, responses)
    if not algo.on_policy:
        learning = {"learning": (train + algo.more_passes()) * policy}
        return learning | ({"preparation": policy} if algo.stores_reference() else {})
    separate = algo.value_model() == "separate"
    learnt, value = _passes(algo, shape, prompt, responses[: algo.learnt_of(len(responses))])
    return {
        "sampling": policy,
        "scoring": (1 + algo.keeps_reference()) * policy + scalar * (algo.needs_reward * reward_models + separate),
        "learning": epochs * train * (learnt + value * separate),
    }


def _passes(algo: AlgoConfig, shape: Shape, prompt: int, responses: Sequence[int]) -> tuple[float, float]:
    """A forward pass of what learns, and one of a model with a scalar head."""
    policy, scalar = (forward(shape, prompt, responses, logits=logits) for logits in (True, False))
    return (policy if algo.exports == "policy" else scalar), scalar
