"""What a run cost: tokens per second, and the highest memory use."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any, TypedDict

import lightning as L
import torch


class Cost(TypedDict):
    """Fields of `summary.json`: trained tokens per second (padding not counted), and peak bytes, summed over ranks."""

    train_tokens_per_second: float | None
    peak_memory_bytes: int


class Resources(L.Callback):
    """Measures from the first training step of this process to the last."""

    def __init__(self) -> None:
        self.started = 0.0
        self.tokens_before = 0
        self.seconds = 0.0
        self.memory = 0

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.started, self.tokens_before = time.perf_counter(), module.trained_tokens

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds = time.perf_counter() - self.started

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        mine = torch.tensor(float(peak_memory(module.device)), device=module.device)
        self.memory = int(trainer.strategy.reduce(mine, reduce_op="sum"))

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        # Before Lightning moves the module to the CPU. Of this process alone: others may not get here.
        self.memory = peak_memory(module.device)

    def summary(self, module: Any) -> Cost:
        """What this process took; no speed without a step."""
        speed = (module.trained_tokens - self.tokens_before) / self.seconds if self.seconds else None
        memory = self.memory or peak_memory(module.device)
        return {"train_tokens_per_second": speed and round(speed, 1), "peak_memory_bytes": memory}


def peak_memory(device: torch.device) -> int:
    """Highest memory use so far in bytes: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
