"""How a worker talks to the benchmark: a task on stdin, then one JSON line for every order. Standard library only.

Workers stay alive between steps, so that the benchmark can alternate between them: whatever else the machine does then
hits all of them alike.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = ("torch", "transformers", "trl", "lightning")
"""Whose versions belong to a result."""


class Link:
    """The worker's end. Whatever libraries print goes to stderr: the real stdout belongs to the answers alone."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        line = sys.stdin.readline()
        if not line:
            self.leave()
        self.task: dict[str, Any] = json.loads(line)
        self.order: dict[str, Any] = {}
        self._started = 0.0

    def ready(self, **facts: Any) -> None:
        """Everything is loaded; wait for the first order."""
        self._say({"versions": {name: version(name) for name in PACKAGES if name in sys.modules}} | facts)
        self._wait()

    def done(self, **facts: Any) -> None:
        """The ordered piece of work is done: say how long it took, and wait for the next order."""
        wait_for_device()
        seconds = time.perf_counter() - self._started
        self._say({"seconds": seconds, "peak_memory_bytes": peak_memory()} | facts)
        self._wait()

    def _say(self, facts: dict[str, Any]) -> None:
        self._out.write(json.dumps(facts) + "\n")

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            self.leave()
        self.order = json.loads(line)
        self._started = time.perf_counter()

    def leave(self) -> NoReturn:
        """End at once: a trainer that is stopped in the middle would still save, log and report."""
        self._out.flush()
        os._exit(0)


def cuda() -> Any:
    """`torch.cuda` where this program has begun to use a GPU, else `None`."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def wait_for_device() -> None:
    """A GPU works while the program continues; only what it has finished counts."""
    if (gpu := cuda()) is not None:
        gpu.synchronize()


def peak_memory() -> int:
    """Highest memory of this program so far, in bytes: allocated on its GPU, or else resident.

    Linux keeps `ru_maxrss` over exec, so a worker would inherit what its parent had; VmHWM starts anew.
    """
    if (gpu := cuda()) is not None:
        return int(gpu.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
