"""Log-probabilities and gradients of packed rows, trees and padded rows, beside plain passes of `transformers`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import verdict
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.loading import load_policy
from rlhf.models.language import LanguageModel

EXACT = 1e-4
"""Nats in fp32 between a token's log-probability in a batch and alone."""


def architectures(small: bool) -> dict[str, dict[str, Any]]:
    """Two layers of GPT-2 124M, and of SmolLM2 with its grouped queries."""
    if small:
        llama = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
        gpt2 = {"n_embd": 64, "n_head": 4}
    else:
        llama = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
        gpt2 = {"n_embd": 768, "n_head": 12}
    return {
        "gpt2": {"model_type": "gpt2", "n_layer": 2, "n_positions": 1024} | gpt2,
        "llama": {"model_type": "llama", "num_hidden_layers": 2, "max_position_embeddings": 1024} | llama,
    }


def rows(vocabulary: int, small: bool) -> dict[str, list[Row]]:
    """By how `collate` lays them out."""
    draw = random.Random(1)
    longest = 12 if small else 160

    def row(number: int, responses: int, prompt: int | None = None) -> Row:
        lengths = [prompt or draw.randint(2, longest), *(draw.randint(1, longest) for _ in range(responses))]
        parts = [tuple(draw.randrange(1, vocabulary) for _ in range(n)) for n in lengths]
        return Row(parts[0], tuple(parts[1:]), index=number)

    return {
        "trees": [row(i, draw.randint(1, 4)) for i in range(8)],
        "side by side": [row(i, 1) for i in range(8)],
        "padded": [Row((5,) * longest, ((6, 7, 8 + i),), index=i) for i in range(8)],
    }


def plain_logprobs(model: LanguageModel, found: list[Row], device: str) -> Tensor:
    """Each response in a pass of its own, by `transformers` alone: in the order of a batch's targets."""
    parts = []
    for row in found:
        for response in row.responses:
            ids = torch.tensor([[*row.prompt, *response]], device=device)
            logits = model.hf(input_ids=ids, use_cache=False).logits[0, len(row.prompt) - 1 : -1].float()
            parts.append(logits.log_softmax(-1).gather(-1, ids[0, len(row.prompt) :, None])[:, 0])
    return torch.cat(parts)


def compare(context: Context) -> dict[str, Any]:
    """Largest differences by architecture, precision and layout."""
    tokenizer = load_tokenizer("tiny")
    found: dict[str, Any] = {}
    wrong = []
    for name, architecture in architectures(context.tiny).items():
        model = load_policy(None, architecture, tokenizer, seed=1).to(context.device)
        for precision in ("fp32", "bf16"):
            for layout, some in rows(tokenizer.vocab_size, context.tiny).items():
                batch = collate(some).to(context.device)
                key = f"{name} {precision} {layout}"
                found[key] = differences(model, batch, some, context.device, precision == "bf16")
                context.note(key, found[key])
                if precision == "fp32" and not (
                    found[key]["logprob"] <= EXACT and found[key]["gradient"] <= 10 * EXACT
                ):
                    wrong.append(key)
    return {"says": verdict(wrong), "wrong": wrong, "found": found}


def differences(model: LanguageModel, batch: Batch, some: list[Row], device: str, half: bool) -> dict[str, float]:
    """Largest difference of a log-probability (nats), and of all gradients relative to their norm."""

    def ours() -> Tensor:
        stats: Any = model(batch)
        logprobs: Tensor = stats.logprobs
        return logprobs

    results = []
    for logprobs_of in (ours, lambda: plain_logprobs(model, some, device)):
        results.append(pass_of(model, logprobs_of, device, half))
    (one, first), (other, second) = results
    gap = torch.cat([(a - b).flatten() for a, b in zip(first, second, strict=True)]).norm()
    norm = torch.cat([b.flatten() for b in second]).norm()
    return {"logprob": float((one - other).abs().max()), "gradient": float(gap / norm)}


def pass_of(
    model: LanguageModel, logprobs_of: Callable[[], Tensor], device: str, half: bool
) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities, and the gradients of a weighted sum of them."""
    model.zero_grad(set_to_none=True)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        logprobs = logprobs_of()
    weights = torch.linspace(-1, 1, len(logprobs), device=device)  # a plain sum would hide mixed-up tokens
    (logprobs * weights).sum().backward()
    gradients = [p.grad.float().clone() if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return logprobs.detach().float(), gradients
