"""Requests that wait together are sampled together, by one thread that has the model to itself."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from rlhf.errors import first_line
from rlhf.rollout.sampling import Completion, Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.uniforms import EVALUATE

GATHER = 0.01
"""Seconds in which requests may join the first one of a batch. Clients that got their answers from one batch ask again
at the same moment: without it, the quickest of them would be answered alone, and all others would wait for that."""
MOST_WAITING = 1024

SEEDS = 2**63
"""Numbers of requests with a seed of their own lie below, those of the others from here on."""

log = logging.getLogger("rlhf")


class Ended(Exception):
    """The server ended before the answer was there."""


class Full(Exception):
    """Too many requests wait already."""


class Failed(Exception):
    """The model could not answer: out of memory, or whatever its code does."""


class _Nobody(Exception):
    """All who asked have left."""


@dataclass(eq=False)
class Job:
    """One request.

    Attributes:
        number: what its random numbers follow from.
        watch: sees each token as it is drawn, and which of the samples it belongs to.
        answer: the samples, in their order.
        left: set by whoever no longer waits.
    """

    tokens: tuple[int, ...]
    sampling: Sampling
    number: int
    watch: Callable[[int, int], None] | None = None
    answer: Future[list[Completion]] = field(default_factory=Future)
    left: bool = False


class Batches:
    """A queue in front of a sampler.

    What is drawn for a request with a seed is a function of its tokens, its sampling, that seed and the server's; for
    one without, of its place among those without. What it is sampled beside has no influence.

    Args:
        seed: of the server.
        threads: that PyTorch may use; `None`: as many as it likes.

    Attributes:
        answered, read, written: requests, tokens of their prompts, tokens of their answers.
    """

    def __init__(self, sampler: TorchSampler, seed: int, threads: int | None = None) -> None:
        self.sampler, self.seed, self._threads = sampler, seed, threads
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._unseeded, self._ended = 0, False
        self.answered = self.read = self.written = 0
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def submit(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        seed: int | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Job:
        """Queue a request.

        Raises:
            Full: too many wait.
            Ended: nobody will answer any more.
        """
        with self._changed:
            if self._ended:
                raise Ended("the server is ending")
            if len(self._waiting) >= MOST_WAITING:
                raise Full(f"{MOST_WAITING} requests wait already; ask again later")
            if seed is None:
                number, self._unseeded = SEEDS + self._unseeded, self._unseeded + 1
            else:
                number = number_of(seed, tokens)
            job = Job(tuple(tokens), sampling, number, watch)
            self._waiting.append(job)
            self._changed.notify()
        return job

    def end(self) -> None:
        """Have everybody told that there will be no answer; what is being sampled stops at its next token."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _work(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._waiting)
            if not self._ended:
                time.sleep(GATHER)
            with self._changed:
                if self._ended:
                    for job in self._waiting:
                        _fail([job], Ended("the server is ending"))
                    return
                batch = self._next()
            if batch:
                self._answer(batch)

    def _next(self) -> list[Job]:
        """The request that waits longest, and those that are sampled in the same way, in all as many as are decoded at
        the same time."""
        wanted, rows = self._waiting[0].sampling, 0
        found, kept = list[Job](), deque[Job]()
        for job in self._waiting:
            if job.sampling != wanted or (found and rows + wanted.samples_per_prompt > self.sampler.max_rows):
                kept.append(job)
            elif not job.left and job.answer.set_running_or_notify_cancel():
                found.append(job)
                rows += wanted.samples_per_prompt
        self._waiting = kept
        return found

    def _answer(self, batch: Sequence[Job]) -> None:
        def watch(request: int, sample: int, token: int) -> None:
            if self._ended:
                raise Ended("the server is ending")
            if all(job.left for job in batch):
                raise _Nobody
            seen = batch[request].watch
            if seen is not None:
                seen(sample, token)

        requests = [Request(job.number, job.tokens) for job in batch]
        try:
            drawn = self.sampler.sample(
                requests, batch[0].sampling, seed=self.seed, iteration=0, stream=EVALUATE, watch=watch
            )
        except (Ended, _Nobody) as error:
            _fail(batch, error)
            return
        except Exception as error:  # the next request may be answered all the same
            log.error("a batch of %d requests failed: %s", len(batch), first_line(error))
            _fail(batch, Failed(f"the model failed: {first_line(error)}"))
            return
        self.answered += len(batch)
        self.read += sum(len(job.tokens) for job in batch)
        self.written += sum(len(completion.tokens) for completion in drawn)
        for place, job in enumerate(batch):
            job.answer.set_result([completion for completion in drawn if completion.request == place])


def number_of(seed: int, tokens: Sequence[int]) -> int:
    """What the random numbers of a request with a seed follow from. The conversation is part of it: many are asked with
    one seed, and the same numbers for all of them would have all answers go the same way."""
    return int.from_bytes(hashlib.sha256(repr((seed, tuple(tokens))).encode()).digest()[:8]) % SEEDS


def _fail(batch: Sequence[Job], error: Exception) -> None:
    for job in batch:
        if not job.answer.cancelled():
            job.answer.set_exception(error)
