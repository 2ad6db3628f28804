"""Sampling beside `transformers.generate`, in bf16."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.measures.models import MODELS
from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import clock, forget_memory
from benchmarks.rollout import contestants
from launch.composition.compose import load
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.loading import load_policy
from rlhf.models.language import LanguageModel


def model_of(context: Context, name: str) -> LanguageModel:
    """Random weights; large ones are drawn on the device."""
    shape = MODELS["tiny" if context.tiny else name]
    config = load([f"model={shape.model}"]).model
    tokenizer: Any = "gpt2" if shape.large else config.tokenizer
    with torch.device(context.device if shape.large else "cpu"):
        model = load_policy(None, dict(config.architecture) | shape.sizes, load_tokenizer(tokenizer), seed=0)
    return model.to(context.device)


def measure(context: Context, name: str) -> dict[str, Any]:
    """Tokens per second of both, in turn: fp32 weights under autocast, as PPO has them, and weights in bf16."""
    rows, prompt, tokens, repeats = (4, 6, 6, 1) if context.tiny else (64, 128, 128, 2)
    model = model_of(context, name).eval()
    vocabulary = model.hf.config.get_text_config().vocab_size
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(1, vocabulary, (rows, prompt), generator=draw).to(context.device)
    found: dict[str, Any] = {}
    for weights in ("fp32 weights, autocast", "bf16 weights"):
        if weights == "bf16 weights":
            model.to(torch.bfloat16)
        seconds: dict[str, list[float]] = {}
        with torch.no_grad(), torch.autocast(context.device, torch.bfloat16, enabled="autocast" in weights):
            for run in contestants(model, prompts[:2], 1, 4).values():
                run()
            for _ in range(repeats):
                for side, run in contestants(model, prompts, 1, tokens).items():
                    seconds.setdefault(side, []).append(clock(run, context.device))
        found[weights] = {side: rows * tokens / min(times) for side, times in seconds.items()}
        context.note(weights, found[weights])
    del model
    forget_memory()
    ratios = {weights: rates["ours"] / rates["transformers.generate"] for weights, rates in found.items()}
    told = ", ".join(f"{found[w]['ours']:.0f} tokens/s, {ratio:.2f} × generate ({w})" for w, ratio in ratios.items())
    return {"says": told, "rows": rows, "prompt": prompt, "tokens": tokens, "tokens_per_second": found, "ratio": ratios}


def gpt2(context: Context) -> dict[str, Any]:
    return measure(context, "gpt2")


def half(context: Context) -> dict[str, Any]:
    return measure(context, "0.5B")


def large(context: Context) -> dict[str, Any]:
    return measure(context, "1.5B")
