"""A model and examples small enough that a worker answers in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Bench
from benchmarks.prepare import prepare

SIZES = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64}
OPTIONS = {
    "lr": 1e-3,
    "max_length": 64,
    "new_tokens": 5,
    "critic": "separate",
    "epochs": 2,
    "tokens_per_microbatch": 64,
    "max_grad_norm": 1e9,
}
LENGTHS = {"sft": [7, 5], "reward": [7, 5, 3], "dpo": [7, 5, 3], "ppo": [7]}


def small_bench(stage: str, folder: Path, blocks: int = 1, **options: Any) -> Bench:
    """Two examples a step, of the lengths above."""
    request = {
        "stage": stage,
        "model": "tiny",
        "sizes": SIZES,
        "seed": 1,
        "count": 2 * (1 + blocks),
        "max_length": 64,
        "new_tokens": 5,
        "data": None,
        "lengths": LENGTHS[stage],
    }
    task = prepare(request, folder / "shared")
    return Bench(stage, task, OPTIONS | options, 2, blocks, 1, folder, say=lambda _: None, peak_size=64)


@pytest.fixture
def bench_of(tmp_path: Path) -> Any:
    return lambda stage, **options: small_bench(stage, tmp_path, **options)
