"""The benchmark's end of a worker: starts it in its environment, gives orders, reads answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class WorkerError(Exception):
    """A worker ended before it answered; says what it wrote last."""


class Worker:
    """A process that computes one step for every `go`. Leaving the context ends it.

    Args:
        python: interpreter of the environment.
        module: what to run, `benchmarks.workers.…`.
        task: what to compute.
        threads: CPU threads, the same for all that are compared.
        log: file for what it writes to stderr.
        environment: further variables.
    """

    def __init__(
        self,
        python: str,
        module: str,
        task: dict[str, Any],
        threads: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log, self.module = log, module
        variables = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            "WANDB_MODE": "disabled",
        }
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [python, "-m", module],
                cwd=ROOT,
                env=os.environ | variables | dict(environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.facts = self._ask(task | {"threads": threads})

    def go(self, **order: Any) -> dict[str, Any]:
        """Let it do one step (the first may be its preparation); what it measured."""
        return self._ask(order)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-20:]
            raise WorkerError("\n".join([f"{self.module} ended with {code}; its last words:", *last]))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
