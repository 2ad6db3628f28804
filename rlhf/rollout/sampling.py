"""What a sampler is asked and what it answers; the torch sampler and vLLM share these types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (finished samples, all samples)."""


@dataclass(frozen=True)
class Sampling:
    """How to draw: temperature 0 is greedy; `top_k` 0 and `top_p` 1 switch those filters off."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    samples_per_prompt: int = 1


@dataclass(frozen=True)
class Request:
    """A prompt to continue. `number` identifies it to the random numbers, wherever and whenever it is sampled."""

    number: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """One sampled response.

    Attributes:
        request: position of its prompt in the list that was asked.
        sample: which of the prompt's samples.
        tokens: what was drawn, end-of-text included where it was reached.
        logprobs: log-probability (nats) of each token under the distribution it was drawn from.
        finished: whether end-of-text was reached within `max_new_tokens`.
    """

    request: int
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


class Sampler(Protocol):
    """Anything that continues prompts. Answers are ordered by request, then sample."""

    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        seed: int,
        iteration: int,
        stream: int = 0,
        progress: Progress | None = None,
    ) -> list[Completion]: ...


def filtered_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits [B, V] in fp32 after temperature, top-k, top-p (in that order, as `transformers` has it).

    Top-k keeps the k largest (Fan et al. 2018); top-p the smallest set whose probability reaches p (Holtzman et al.
    2020), always at least one token. The rest becomes −inf.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        best = logits.argmax(-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest_kept = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest_kept, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        outside = probabilities.cumsum(-1) - probabilities >= sampling.top_p
        outside[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), -torch.inf)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling: one uniform number a row, instead of one random number a vocabulary entry.

    Args:
        logits: [B, V], filtered; uniform: [B] in [0, 1), float64.

    Returns:
        tokens [B] and their log-probabilities [B]. A token of probability 0 is never drawn.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    cdf = logprobs.double().exp().cumsum(-1)
    target = uniform.to(cdf.device)[:, None] * cdf[:, -1:]
    # Rounding can push the target to the last entry's far side; the last possible token is then the right one.
    tokens = torch.searchsorted(cdf, target, right=True).clamp(max=logits.shape[-1] - 1)
    last_possible = torch.searchsorted(cdf, cdf[:, -1:].contiguous(), right=False)
    tokens = torch.minimum(tokens, last_possible)
    return tokens.squeeze(-1), logprobs.gather(-1, tokens).squeeze(-1)
