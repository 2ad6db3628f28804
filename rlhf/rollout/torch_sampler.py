"""Sampling in process: key–value cache, prompts shared by their samples, finished rows dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.models.language import LanguageModel
from rlhf.rollout.sampling import Completion, Progress, Request, Sampling, draw, filtered_logits
from rlhf.rollout.uniforms import uniforms


class TorchSampler:
    """Samples from a `LanguageModel` with the weights that it has at that moment.

    Args:
        model: the policy.
        eos_id: the token that ends a response.
        max_rows: sequences that are decoded at the same time; a prompt's samples stay together, however many they are.
    """

    def __init__(self, model: LanguageModel, eos_id: int, max_rows: int = 64) -> None:
        self.model, self.eos_id, self.max_rows = model, eos_id, max_rows

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        seed: int,
        iteration: int,
        stream: int = 0,
        progress: Progress | None = None,
    ) -> list[Completion]:
        """Continue every request `sampling.samples_per_prompt` times; see `Sampler`.

        Raises:
            ValueError: an empty prompt.
        """
        n = sampling.samples_per_prompt
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].tokens))
        prompts_at_once = max(1, self.max_rows // n)
        done: list[Completion] = []
        if not all(request.tokens for request in requests):
            raise ValueError("a request has an empty prompt: nothing predicts its first token")
        for start in range(0, len(order), prompts_at_once):
            group = order[start : start + prompts_at_once]
            keys = [(requests[i].number, s) for i in group for s in range(n)]
            numbers = torch.from_numpy(uniforms(seed, iteration, keys, sampling.max_new_tokens, stream))
            tokens: list[list[int]] = [[] for _ in keys]
            logprobs: list[list[float]] = [[] for _ in keys]
            with evaluating(self.model):
                for step in self._decode([requests[i].tokens for i in group], sampling, numbers):
                    for row, token, logprob in step:
                        tokens[row].append(token)
                        logprobs[row].append(logprob)
            for row, drawn in enumerate(tokens):
                finished = drawn[-1] == self.eos_id
                done.append(Completion(group[row // n], row % n, tuple(drawn), tuple(logprobs[row]), finished))
            if progress is not None:
                progress(len(done), n * len(requests))
        return sorted(done, key=lambda c: (c.request, c.sample))

    @torch.no_grad()
    def stream(
        self, request: Request, sampling: Sampling, *, seed: int, iteration: int, stream: int = 0
    ) -> Iterator[int]:
        """The tokens of a request's first sample, the same as from `sample`, each as soon as it is drawn.

        Raises:
            ValueError: an empty prompt.
        """
        if not request.tokens:
            raise ValueError("the request has an empty prompt: nothing predicts its first token")
        numbers = torch.from_numpy(uniforms(seed, iteration, [(request.number, 0)], sampling.max_new_tokens, stream))
        with evaluating(self.model):
            for step in self._decode([request.tokens], replace(sampling, samples_per_prompt=1), numbers):
                yield from (token for _, token, _ in step)

    def _decode(
        self, prompts: list[tuple[int, ...]], sampling: Sampling, numbers: Tensor
    ) -> Iterator[Iterable[tuple[int, int, float]]]:
        """Decode a group, position by position: (row, token, log-probability) of every row that goes on.

        `numbers` [prompts × samples, max_new_tokens] are its uniform draws.
        """
        from transformers import DynamicCache

        n, device = sampling.samples_per_prompt, next(self.model.parameters()).device
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        cache = DynamicCache(config=self.model.hf.config)
        logits = self._logits(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        if n > 1:
            cache.batch_repeat_interleave(n)
            mask, logits = mask.repeat_interleave(n, 0), logits.repeat_interleave(n, 0)
        rows = torch.arange(len(prompts) * n, device=device)
        for position in range(sampling.max_new_tokens):
            drawn, drawn_logprobs = draw(filtered_logits(logits, sampling), numbers[rows.cpu(), position])
            yield zip(rows.tolist(), drawn.tolist(), drawn_logprobs.tolist(), strict=True)
            if position + 1 == sampling.max_new_tokens:
                break
            alive = (drawn != self.eos_id).nonzero().squeeze(-1)
            if len(alive) == 0:
                break
            if len(alive) < len(rows):
                cache.batch_select_indices(alive)
                rows, drawn, mask = rows[alive], drawn[alive], mask[alive]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            logits = self._logits(drawn[:, None], mask, mask.sum(-1, keepdim=True) - 1, cache)

    def _logits(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Next-token logits [B, V] after `ids` [B, T]; the cache grows by T."""
        states = self.model.hf.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return self.model.head(states[:, -1])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within: in training mode, gradient checkpointing makes `transformers` drop the cache silently."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
