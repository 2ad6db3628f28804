"""A worker's orders from within the same process: importing libraries and starting CUDA happen once for all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.trial import forget_memory
from benchmarks.workers.protocol import peak_memory, wait_for_device


class LocalLink:
    """What `benchmarks.workers.protocol.Link` is to a worker, without a pipe: every step is ordered at once.

    Attributes:
        answers: what the worker said of its preparation, if it prepares, and of each step.
        facts: what it said before the first of them.
    """

    def __init__(self, task: dict[str, Any], first_order: dict[str, Any] | None = None) -> None:
        # What a pipe would hand over: lists where there are tuples.
        self.task: dict[str, Any] = json.loads(json.dumps(task))
        self.order = first_order or {}
        self.facts: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []
        self._started = 0.0

    def ready(self, **facts: Any) -> None:
        self.facts = facts
        wait_for_device()
        self._started = time.perf_counter()

    def done(self, **facts: Any) -> None:
        wait_for_device()
        seconds = time.perf_counter() - self._started
        self.answers.append({"seconds": seconds, "peak_memory_bytes": peak_memory()} | facts)
        self.order = {}
        self._started = time.perf_counter()


def run_here(run: Callable[[Any], None], task: dict[str, Any], first_order: dict[str, Any] | None = None) -> LocalLink:
    """Let a worker's `run` do all steps of a task in this process."""
    forget_memory()
    link = LocalLink(task, first_order)
    run(link)
    forget_memory()
    return link
