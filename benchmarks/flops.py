"""Useful arithmetic of a step: what the maths needs, not what an implementation spends.

A prompt counts once however many responses follow it; padding, repeated prompts and recomputed activations count
nothing. A multiplication and an addition are two operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TRAIN = 3
"""A backward pass takes twice the arithmetic of the forward pass."""


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


def useful(stage: str, shape: Shape, example: dict[str, Any], options: dict[str, Any]) -> dict[str, float]:
    """Operations that an example takes, in its share of the preparation and in a step.

    Args:
        example: ids by name: `prompt`, `responses`; PPO's responses are drawn, `options["new_tokens"]` each.
    """
    prompt, responses = len(example["prompt"]), [len(ids) for ids in example["responses"]]
    if stage == "ppo":
        return {"preparation": 0.0, "step": _ppo(shape, prompt, options)}
    once = forward(shape, prompt, responses, logits=stage != "reward")
    return {"preparation": once if stage == "dpo" else 0.0, "step": TRAIN * once}


def _ppo(shape: Shape, prompt: int, options: dict[str, Any]) -> float:
    """Sampling, scoring by all models, and the epochs."""
    policy = forward(shape, prompt, [options["new_tokens"]], logits=True)
    scalar = forward(shape, prompt, [options["new_tokens"]], logits=False)
    critic = scalar if options["critic"] == "separate" else 0.0
    sampling, scoring = policy, 2 * policy + scalar + critic
    return sampling + scoring + options["epochs"] * TRAIN * (policy + critic)
