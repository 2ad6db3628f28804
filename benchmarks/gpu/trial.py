"""A run of `train.py` in this process, and what it left behind; and a stage on rows of one's own."""

from __future__ import annotations

import csv
import gc
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.parts import Context, Skipped
from rlhf.runs import Summary

LOSSES = ("train/loss", "policy/loss", "value/loss")
QUIET = (
    "logger=csv",
    "callbacks.progress=false",
    "train.samples=0",
    "train.log_every=1",
    "train.checkpoint_every=1000",
)
"""Every step is logged, and nothing is written, sampled or shown on the way."""


@dataclass(frozen=True)
class Trial:
    """A finished run.

    Attributes:
        seconds: of the whole command.
        peak: highest memory of the device during it, in bytes; of a CPU, of the process so far.
        rows: of `metrics.csv`, numbers by name.
    """

    folder: Path
    seconds: float
    peak: int
    rows: list[dict[str, float]] = field(repr=False)

    @property
    def losses(self) -> list[float]:
        """Of each step, its loss (in PPO, of the policy and of the critic)."""
        return [row[name] for row in self.rows for name in LOSSES if name in row]

    def values(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


def train(overrides: Sequence[str], folder: Path) -> Trial:
    """What `python train.py OVERRIDES` does.

    Raises:
        Skipped: it was refused here, as quantised weights are on a CPU.
        RuntimeError: it failed.
    """
    from train import train as program

    forget_memory()
    began = time.perf_counter()
    code = program.main([*overrides, f"hydra.run.dir={folder}"])
    seconds = time.perf_counter() - began
    if code:
        said = "\n".join(program.errors[-1:])
        program.errors.clear()
        raise Skipped(said) if code == 2 else RuntimeError(f"train.py {' '.join(overrides)} ended with {code}\n{said}")
    return Trial(folder, round(seconds, 2), peak_memory(folder), rows_of(folder))


def rows_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv, without the empty fields."""
    with (folder / "metrics.csv").open(encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def peak_memory(folder: Path) -> int:
    return int(Summary.read(folder).peak_memory_bytes or 0)


def forget_memory() -> None:
    """Give back what earlier runs of this process hold, and measure the highest memory from here on."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def settle(device: str) -> None:
    """Wait until the device has done all that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def clock(run: Any, device: str) -> float:
    """Seconds of a call, until the device is done with it."""
    settle(device)
    began = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - began


def distance(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | int]:
    """How far two curves are apart, relative to the second: at the first step, and at most."""
    if not ours or not theirs:
        return {"steps": 0, "first": math.nan, "most": math.nan}
    gaps = [abs(a - b) / max(abs(b), 1e-3) for a, b in zip(ours, theirs, strict=False)]
    # Every comparison with NaN is false: it must win, not be left out.
    worst = max(gaps, key=lambda gap: math.inf if math.isnan(gap) else gap)
    return {"steps": len(gaps), "first": gaps[0], "most": worst}


def verdict(wrong: Sequence[str]) -> str:
    """What a part reports, in a line."""
    return f"wrong: {', '.join(wrong)}" if wrong else "as expected"


def threads() -> int:
    """CPU threads for a reference beside the GPU: half of what is there."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def model_overrides(context: Context) -> list[str]:
    """GPT-2 124M with random weights; a small one of the same kind in a rehearsal."""
    if not context.tiny:
        return ["model=gpt2", "model.init=random", "data.max_length=256"]
    sizes = ("n_embd=32", "n_layer=2", "n_head=2")
    return ["model=tiny", "model.init=random", *(f"model.architecture.{size}" for size in sizes)]


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
