"""Sampling in process, from a model as it is at that moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from rlhf.models.language import LanguageModel
from rlhf.models.parallel.sharding import gathered
from rlhf.rollout.decoding import Drawn
from rlhf.rollout.engine_probe import decoder_of
from rlhf.rollout.packed import packed_weights
from rlhf.rollout.sampling import Completion, Progress, Request, Sampling, as_stops
from rlhf.rollout.uniforms import uniforms

Watch = Callable[[int, int, int], None]
"""Called with a request's position in the list that was asked, which of its samples, and a token."""


class TorchSampler:
    """Samples from a `LanguageModel` with the weights that it has at that moment.

    Args:
        model: the policy.
        stop_ids: the tokens that end a response, or the only one.
        max_rows: sequences that are decoded at the same time, and so the size of the key–value cache.
    """

    def __init__(self, model: LanguageModel, stop_ids: int | Sequence[int], max_rows: int = 64) -> None:
        self.model, self.max_rows = model, max_rows
        self.stop_ids = as_stops(stop_ids)

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
        watch: Watch | None = None,
    ) -> list[Completion]:
        """Continue every request `sampling.samples_per_prompt` times; see `Sampler`.

        Args:
            watch: sees every token as soon as it is drawn; what it raises ends the sampling.

        Raises:
            ValueError: an empty prompt.
        """
        if not all(request.tokens for request in requests):
            raise ValueError("a request has an empty prompt: nothing predicts its first token")
        n = sampling.samples_per_prompt
        tokens: list[list[int]] = [[] for _ in range(n * len(requests))]
        logprobs: list[list[float]] = [[] for _ in tokens]
        done = 0
        rows = min(self.max_rows, len(tokens))
        steps = sampling.max_new_tokens * -(-len(tokens) // self.max_rows)
        # Where parameters are sharded, a process without requests of its own takes part in gathering them.
        with evaluating(self.model), gathered(self.model), packed_weights(self.model, rows, steps):
            if not requests:
                return []
            for drawn in self._decoder(requests, sampling, seed=seed, iteration=iteration, stream=stream):
                for row, token, logprob in drawn.entries():
                    tokens[row].append(token)
                    logprobs[row].append(logprob)
                    if watch is not None:
                        watch(row // n, row % n, token)
                ended = int(drawn.last.sum())
                done += ended
                if ended and progress is not None:
                    progress(done, len(tokens))
        return [
            Completion(row // n, row % n, tuple(drawn), tuple(logprobs[row]), drawn[-1] in self.stop_ids)
            for row, drawn in enumerate(tokens)
        ]

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
        one = replace(sampling, samples_per_prompt=1)
        with evaluating(self.model):
            for drawn in self._decoder([request], one, seed=seed, iteration=iteration, stream=stream):
                yield int(drawn.tokens[0])

    def _decoder(
        self, requests: Sequence[Request], sampling: Sampling, *, seed: int, iteration: int, stream: int
    ) -> Iterable[Drawn]:
        keys = [(request.number, sample) for request in requests for sample in range(sampling.samples_per_prompt)]
        numbers = uniforms(seed, iteration, keys, sampling.max_new_tokens, stream)
        prompts = [request.tokens for request in requests]
        decoder = decoder_of(self.model)
        return decoder(self.model, prompts, sampling, numbers, stop_ids=self.stop_ids, max_rows=self.max_rows)


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
