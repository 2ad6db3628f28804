"""What a sampler is asked and what it answers; the torch sampler and vLLM share these types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called with (finished samples, all samples)."""

CANDIDATES = 1024
"""The most probable entries, among which top-p looks first."""

BLOCK = 256
"""Vocabulary entries whose probabilities are summed at once, about the square root of a large vocabulary."""


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
        tokens: what was drawn, the token that ended it included where it was reached.
        logprobs: log-probability (nats) of each token under the distribution it was drawn from.
        finished: whether an end was reached within `max_new_tokens`.
    """

    request: int
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


def as_stops(stop_ids: int | Sequence[int]) -> tuple[int, ...]:
    """The tokens that end a response, given as one or several."""
    return (stop_ids,) if isinstance(stop_ids, int) else tuple(stop_ids)


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
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest_kept = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest_kept, -torch.inf)
    if sampling.top_p < 1:
        probabilities = logits.softmax(-1)
        # Sorting a large vocabulary takes longer than the model; a few of its entries nearly always have enough.
        ordered = probabilities.topk(min(CANDIDATES, logits.shape[-1]), dim=-1).values
        if (ordered.sum(-1) < sampling.top_p).any():
            ordered = probabilities.sort(dim=-1, descending=True).values
        inside = ordered.cumsum(-1) - ordered < sampling.top_p
        # By value, as for top-k: which of several equals comes first would depend on who is beside them.
        smallest_kept = ordered.gather(-1, (inside.sum(-1, keepdim=True) - 1).clamp(min=0))
        logits = logits.masked_fill(probabilities < smallest_kept, -torch.inf)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling: one uniform number a row, instead of one random number a vocabulary entry.

    The CDF is formed of blocks of the vocabulary first, then within the block that was hit: sums over the whole of it,
    in float64, would take longer than the rest of the draw many times over.

    Args:
        logits: [B, V], filtered; uniform: [B] in [0, 1), float64.

    Returns:
        tokens [B] and their log-probabilities [B]. A token of probability 0 is never drawn.
    """
    probabilities = torch.softmax(logits.float(), dim=-1)
    blocks = nn.functional.pad(probabilities, (0, -logits.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    block, rest = _invert(blocks.sum(-1), uniform.to(logits.device))
    within, _ = _invert(blocks[torch.arange(len(block), device=block.device), block], rest)
    # Without this, a model that has become NaN would fail here, where nothing says so.
    tokens = (block * BLOCK + within).clamp(max=logits.shape[-1] - 1)
    return tokens, probabilities.gather(-1, tokens[:, None]).squeeze(-1).log()


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The entry [B] of `weights` [B, K] that each of `uniform` [B] falls on, and how far into it, in [0, 1)."""
    weights = weights.double()
    cdf = weights.cumsum(-1)
    target = uniform[:, None] * cdf[:, -1:]
    found = torch.searchsorted(cdf, target, right=True)
    # Rounding can push the target to the last entry's far side; the last possible entry is then the right one.
    found = torch.minimum(found, torch.searchsorted(cdf, cdf[:, -1:].contiguous(), right=False))
    found = found.clamp(max=weights.shape[-1] - 1)
    weight = weights.gather(-1, found)
    into = (target - cdf.gather(-1, found) + weight) / weight
    return found.squeeze(-1), into.squeeze(-1).clamp(0, 1 - 2**-53)
