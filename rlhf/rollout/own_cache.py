"""Decoding with the cache that `transformers` has for a model, or with none: for states that are not keys and values.

Mamba, convolutions and linear attention keep their own states, and layers that build their own masks can't
be told of slots. Prompts of one length are continued together, so nothing is padded, and each keeps its draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf.models.language import LanguageModel
from rlhf.rollout.decoding import Drawn
from rlhf.rollout.sampling import Sampling, draw, filtered_logits


class OwnCacheDecoder:
    """Continues prompts, a group of equal lengths after the other; an iteration gives what one step drew of a group.

    Args:
        prompts, sampling, uniforms, stop_ids, max_rows: as `Decoder`.
        use_cache: whether the model's own cache is exact; without it all tokens are read again at each step.
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
        use_cache: bool = True,
    ) -> None:
        self.model, self.prompts, self.sampling, self.uniforms = model, prompts, sampling, uniforms
        self.stop_ids, self.max_rows, self.use_cache = stop_ids, max_rows, use_cache

    def __iter__(self) -> Iterator[Drawn]:
        n = self.sampling.samples_per_prompt
        rows = sorted(range(len(self.uniforms)), key=lambda row: -len(self.prompts[row // n]))
        for _, equal in groupby(rows, key=lambda row: len(self.prompts[row // n])):
            group = list(equal)
            for first in range(0, len(group), self.max_rows):
                yield from self._continue(np.array(group[first : first + self.max_rows]))

    def _continue(self, rows: np.ndarray) -> list[Drawn]:
        n = self.sampling.samples_per_prompt
        device = next(self.model.parameters()).device
        ids = torch.tensor([self.prompts[row // n] for row in rows], device=device)
        steps = _Steps(ids.shape[1], rows, self.sampling, self.uniforms[rows], self.stop_ids)
        self.model.generate(
            ids,
            max_new_tokens=self.sampling.max_new_tokens,
            use_cache=self.use_cache,
            logits_processor=[steps.choose],
            stopping_criteria=[steps.are_done],
        )
        return steps.drawn


class _Steps:
    """What `generate` asks at each step: which token comes next, and who is done."""

    def __init__(
        self, start: int, rows: np.ndarray, sampling: Sampling, uniforms: np.ndarray, stop_ids: Sequence[int]
    ) -> None:
        self.start, self.rows, self.sampling, self.stop_ids = start, rows, sampling, np.array(stop_ids)
        self.uniforms = torch.from_numpy(uniforms)
        self.going = np.ones(len(rows), bool)
        self.drawn: list[Drawn] = []

    def choose(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Draw from logits [B, V]; the entries that were drawn become the only ones that are possible."""
        step = ids.shape[1] - self.start
        tokens, logprobs = draw(filtered_logits(logits, self.sampling), self.uniforms[:, step])
        found, going = tokens.cpu().numpy(), self.going
        last = np.isin(found, self.stop_ids) | (step + 1 == self.sampling.max_new_tokens)
        self.drawn.append(Drawn(self.rows[going], found[going], logprobs.float().cpu().numpy()[going], last[going]))
        self.going = going & ~last
        return torch.full_like(logits, -torch.inf).scatter(-1, tokens[:, None], 0.0)

    def are_done(self, ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.from_numpy(~self.going).to(ids.device)
