"""Sampling on the device: the CPU's draws in fp32, and tokens per second."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import clock, verdict
from benchmarks.rollout import NEVER, build
from rlhf.models.language import LanguageModel
from rlhf.rollout.sampling import Completion, Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

SAME = 0.98
"""Share of responses that must be the CPU's: a draw next to a token's edge of the CDF may fall on either side."""
LOGPROB = 1e-3
"""Nats between the log-probabilities that both report of the same token, in fp32."""


def compare(context: Context) -> dict[str, Any]:
    """Responses of GPT-2 124M in fp32, twice on the device and once on the CPU; then speeds in each precision."""
    model = build("tiny" if context.tiny else "gpt2")
    prompts, tokens = (4, 6) if context.tiny else (32, 32)
    vocabulary = model.hf.config.get_text_config().vocab_size
    draw = torch.Generator().manual_seed(0)
    requests = [
        Request(i, tuple(torch.randint(1, vocabulary, (8 + i % 24,), generator=draw).tolist())) for i in range(prompts)
    ]
    sampling = Sampling(tokens, samples_per_prompt=2)
    reference = drawn(model, requests, sampling)
    model.to(context.device)
    ours, again = (drawn(model, requests, sampling) for _ in range(2))
    same, gap = agreement(ours, reference)
    wrong = [] if same >= SAME else [f"only {same:.0%} of the responses are the CPU's"]
    wrong += [] if gap <= LOGPROB else [f"log-probabilities are up to {gap:.2g} nats from the CPU's"]
    wrong += [] if ours == again else ["the same call drew other tokens"]
    context.note("same_as_cpu", same)
    speeds = speed(context, model, requests)
    return {
        "says": f"{verdict(wrong)}; {same:.0%} of the responses are the CPU's; "
        + ", ".join(f"{name} {rate:.0f} tokens/s" for name, rate in speeds.items()),
        "wrong": wrong,
        "same_as_cpu": same,
        "logprob_gap": gap,
        "repeatable": ours == again,
        "tokens_per_second": speeds,
    }


def drawn(model: LanguageModel, requests: list[Request], sampling: Sampling) -> list[Completion]:
    return TorchSampler(model, NEVER).sample(requests, sampling, seed=1, iteration=0)


def agreement(ours: list[Completion], theirs: list[Completion]) -> tuple[float, float]:
    """Share of equal responses, and the largest gap of log-probabilities up to the first token that differs."""
    equal, gap = 0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        equal += mine.tokens == other.tokens
        for a, b, p, q in zip(mine.tokens, other.tokens, mine.logprobs, other.logprobs, strict=True):
            if a != b:
                break
            gap = max(gap, abs(p - q))
    return equal / len(ours), gap


def speed(context: Context, model: LanguageModel, requests: list[Request]) -> dict[str, float]:
    """Tokens per second by rows in hand and precision."""
    rows, tokens = ((4,), 6) if context.tiny else ((64, 256), 96)
    found = {}
    for count in rows:
        samples = max(1, count // len(requests))
        sampling = Sampling(tokens, samples_per_prompt=samples)
        for half in (False, True):
            sampler = TorchSampler(model, NEVER, max_rows=count)

            def run(sampling: Sampling = sampling, sampler: TorchSampler = sampler, half: bool = half) -> None:
                with torch.autocast(context.device, dtype=torch.bfloat16, enabled=half):
                    sampler.sample(requests, sampling, seed=1, iteration=0)

            run()
            name = f"{count} rows {'bf16' if half else 'fp32'}"
            found[name] = len(requests) * samples * tokens / clock(run, context.device)
            context.note(f"tokens_per_second {name}", found[name])
    return found
