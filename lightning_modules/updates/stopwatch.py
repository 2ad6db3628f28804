"""How long the phases of a step took, kept apart from what they compute."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class Phased(Protocol):
    """What has phases. `phase_seconds` adds up over their calls, by the metric that reports them."""

    phase_seconds: defaultdict[str, float]


M = TypeVar("M", bound=Phased)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[M, P], R]


def phase(name: str) -> Callable[[Method[M, P, R]], Method[M, P, R]]:
    """Mark a method: the seconds of its calls count as this phase's. Names are those of the metrics."""

    def marked(method: Method[M, P, R]) -> Method[M, P, R]:
        @functools.wraps(method)
        def timed(self: M, *args: P.args, **kwargs: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return method(self, *args, **kwargs)
            finally:
                self.phase_seconds[name] += time.perf_counter() - started

        return timed

    return marked
