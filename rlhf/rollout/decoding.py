"""Continuous batching: finished sequences make room for prompts that wait, and every step decodes all that is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf.errors import ConfigError
from rlhf.models.language import LanguageModel, sliding_window
from rlhf.rollout.cache import SlotCache
from rlhf.rollout.sampling import Sampling, draw, filtered_logits

PREFILL = 1024
"""Tokens of prompts that are read in one pass, padding included; products gain nothing from more."""


@dataclass(frozen=True)
class Drawn:
    """The next tokens of some of the responses.

    Attributes:
        rows: [B], which responses: sample s of prompt p is p · samples_per_prompt + s.
        tokens: [B], what was drawn.
        logprobs: [B], its log-probability (nats) under the distribution that it was drawn from.
        last: [B] bool, whether the response ends with it.
    """

    rows: np.ndarray
    tokens: np.ndarray
    logprobs: np.ndarray
    last: np.ndarray

    def entries(self) -> Iterator[tuple[int, int, float]]:
        """(row, token, log-probability) of each."""
        return zip(self.rows.tolist(), self.tokens.tolist(), self.logprobs.tolist(), strict=True)


@dataclass(frozen=True)
class Waiting:
    """Samples `first` … `first + count − 1` of a prompt, which are read in together."""

    prompt: tuple[int, ...]
    row: int
    count: int


class Decoder:
    """Continues prompts; an iteration reads in prompts or decodes one token of every sequence in hand.

    Slots 0 … `active` − 1 of the cache are in use. A sequence that ends gives its slot to the last one in use, so that
    the rest stays a prefix; prompts that wait are read in behind it. Longest prompts come first: the cache then never
    has to grow, and sequences in hand are of similar lengths.

    Args:
        prompts: their tokens; none is empty.
        uniforms: [prompts × samples, max_new_tokens], float64 in [0, 1): each response's draws.
        stop_ids: the tokens that end a response.
        max_rows: sequences in hand at the same time.

    Raises:
        ConfigError: the model has layers that are not attention.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[tuple[int, ...]],
        sampling: Sampling,
        uniforms: np.ndarray,
        *,
        stop_ids: Sequence[int],
        max_rows: int,
    ) -> None:
        self.model, self.sampling, self.uniforms = model, sampling, uniforms
        self.stop_ids = np.array(stop_ids)
        self.device = next(model.parameters()).device
        n, slots = sampling.samples_per_prompt, min(max_rows, len(uniforms))
        self.waiting = deque(
            Waiting(prompts[p], p * n + first, min(slots, n - first))
            for p in sorted(range(len(prompts)), key=lambda p: -len(prompts[p]))
            for first in range(0, n, slots)
        )
        # The last token of a response is never read.
        self.cache = SlotCache(slots, len(self.waiting[0].prompt) + sampling.max_new_tokens - 1)
        self.kinds = _attention_kinds(model)
        self.window = sliding_window(model.hf.base_model)
        self.active = 0
        self.row = np.zeros(slots, np.int64)  # which response a slot holds,
        self.drawn = np.zeros(slots, np.int64)  # how many of its tokens have been drawn,
        self.length = np.zeros(slots, np.int64)  # how many tokens the cache has of it, the prompt's included,
        self.token = torch.zeros(slots, dtype=torch.long, device=self.device)  # and the one to read next.

    def __iter__(self) -> Iterator[Drawn]:
        # Prompts are read in several at a time: a pass has a cost of its own, whatever it reads.
        enough = max(1, len(self.row) // 4)
        while self.waiting or self.active:
            free = len(self.row) - self.active
            if self.waiting and (self.active == 0 or free >= max(enough, self.waiting[0].count)):
                while chunk := self._next_prompts():
                    yield self._draw(*self._read_prompts(chunk))
            else:
                yield self._draw(*self._read_tokens())

    def _next_prompts(self) -> list[Waiting]:
        """As many prompts as there are slots for, and as a pass should read."""
        chunk: list[Waiting] = []
        free = len(self.row) - self.active
        while self.waiting and self.waiting[0].count <= free:
            if chunk and (len(chunk) + 1) * len(chunk[0].prompt) > PREFILL:
                break
            chunk.append(self.waiting.popleft())
            free -= chunk[-1].count
        return chunk

    def _read_prompts(self, chunk: list[Waiting]) -> tuple[slice, Tensor]:
        """Fill the slots behind those in use, each prompt read once; they, and their next-token logits [B, V]."""
        lengths, counts = np.array([len(w.prompt) for w in chunk]), [w.count for w in chunk]
        longest = int(lengths[0])
        # Padded on the right, where a causal model doesn't look, with a token that no model takes for padding.
        ids = torch.tensor([[*w.prompt, *w.prompt[-1:] * (longest - len(w.prompt))] for w in chunk], device=self.device)
        prompts = np.repeat(np.arange(len(chunk)), counts)
        new = slice(self.active, self.active + len(prompts))
        self.active = new.stop
        self.row[new] = [w.row + sample for w in chunk for sample in range(w.count)]
        self.drawn[new], self.length[new] = 0, lengths[prompts]
        to_sequences = torch.from_numpy(prompts).to(self.device)
        self.cache.expect_prompts(torch.arange(new.start, new.stop, device=self.device), to_sequences, longest)
        ends = torch.from_numpy(lengths - 1).to(self.device)
        return new, self._logits(ids, ends)[to_sequences]

    def _read_tokens(self) -> tuple[slice, Tensor]:
        """Next-token logits [B, V] of all slots in use, after the token that each of them drew last."""
        used = slice(0, self.active)
        positions = torch.from_numpy(self.length[used].copy()).to(self.device)
        longest = int(self.length[used].max()) + 1
        self.length[used] += 1
        self.cache.expect_tokens(positions, longest)
        masks = self._masks(positions, longest)
        first = torch.zeros_like(positions)
        return used, self._logits(self.token[used, None], first, attention_mask=masks, position_ids=positions[:, None])

    def _logits(self, ids: Tensor, ends: Tensor, **extra: Any) -> Tensor:
        return self.model.next_logits(ids, ends, past_key_values=self.cache, **extra)

    def _masks(self, positions: Tensor, length: int) -> Tensor | dict[str, Tensor]:
        """What a token at `positions` [B] may read of `length` positions: 0 there, else −∞, [B, 1, 1, length]."""
        indices = torch.arange(length, device=self.device)
        dtype = self.cache.dtype
        masks = {"full_attention": indices > positions[:, None]}
        if self.window is not None:
            masks["sliding_attention"] = masks["full_attention"] | (indices <= positions[:, None] - self.window)
        additive = {
            kind: torch.zeros((), dtype=dtype, device=self.device).masked_fill(masks[kind], -torch.inf)[:, None, None]
            for kind in self.kinds
        }
        return additive if len(additive) > 1 else additive[self.kinds[0]]

    def _draw(self, slots: slice, logits: Tensor) -> Drawn:
        """Draw the next token of `slots` from `logits` [B, V]; what ends leaves."""
        rows, drawn = self.row[slots].copy(), self.drawn[slots]
        uniforms = torch.from_numpy(self.uniforms[rows, drawn])
        tokens, logprobs = draw(filtered_logits(logits, self.sampling), uniforms)
        self.token[slots] = tokens
        drawn += 1
        found = tokens.cpu().numpy()
        last = np.isin(found, self.stop_ids) | (drawn == self.sampling.max_new_tokens)
        if last.any():
            self._leave(slots.start + last.nonzero()[0])
        return Drawn(rows, found, logprobs.float().cpu().numpy(), last)

    def _leave(self, ended: np.ndarray) -> None:
        """Take slots out of use and close the gaps with the last ones still in use."""
        left = self.active - len(ended)
        going = np.ones(self.active, bool)
        going[ended] = False
        targets, sources = ended[ended < left], left + going[left:].nonzero()[0]
        self.active = left
        if len(targets) == 0:
            return
        for state in (self.row, self.drawn, self.length):
            state[targets] = state[sources]
        to, of = (torch.from_numpy(slots).to(self.device) for slots in (targets, sources))
        self.token[to] = self.token[of]
        self.cache.move(of, to, int(self.length[targets].max()))


def _attention_kinds(model: LanguageModel) -> tuple[str, ...]:
    """The kinds of attention that a model's masks are wanted for.

    Raises:
        ConfigError: it has layers of another kind.
    """
    config = model.hf.config.get_text_config()
    layers = getattr(config, "layer_types", None)
    if layers is None:
        return ("sliding_attention",) if sliding_window(model.hf.base_model) is not None else ("full_attention",)
    kinds = tuple(sorted(set(layers)))
    if unknown := [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]:
        raise ConfigError(
            f"model.init: a {config.model_type} has layers of {unknown[0]}, which the torch sampler can't decode; "
            "choose a model with full or sliding-window attention"
        )
    return kinds
