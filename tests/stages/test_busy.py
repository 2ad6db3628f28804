"""The same bits on a busy machine: threads that wait for a core must not change the order of a sum."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

# Wide and long enough that torch shares a backward pass out to threads (32,768 elements), and several responses share
# their prompt's last token: rankings of six, four samples per prompt.
SIZE = "model.architecture.n_embd=128 data.limit=null train.batch_size=16 train.max_steps=12 train.val_every=null"
LINES = {
    "sft": "model.init=random",
    "reward": "model.init=sft data=jsonl data.path=rankings.jsonl",
    "dpo": "model.init=sft data=jsonl data.path=rankings.jsonl",
    "ppo": "model.init=sft algo.reward_model=rm algo.samples_per_prompt=4",
}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Meanwhile so many processes keep a core busy each."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.fixture
def parents(main: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    answers = [{"text": f"answer {n} " + "and so on " * n, "rank": n + 1} for n in range(6)]
    lines = [json.dumps({"prompt": f"What is {n} and {n + 1}?", "responses": answers}) + "\n" for n in range(60)]
    Path("rankings.jsonl").write_text("".join(lines), encoding="utf-8")
    assert main(f"{SIZE} algo=sft model.init=random train.max_steps=2 hydra.run.dir=sft") == 0
    assert main(f"{SIZE} algo=reward train.max_steps=2 hydra.run.dir=rm model.init=sft") == 0
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("parents")
@pytest.mark.parametrize("stage", LINES)
def test_a_busy_machine_changes_no_bit(main: Any, stage: str) -> None:
    weights = []
    for name, others in (("alone", 0), ("beside", 2), ("again", 2)):
        with busy(others):
            assert main(f"{SIZE} algo={stage} {LINES[stage]} strategy.threads=2 seed=3 hydra.run.dir={name}") == 0
        weights.append(load_file(Path(name) / "model" / "model.safetensors"))
    assert torch.get_num_threads() == 2
    for other in weights[1:]:
        assert all(torch.equal(weights[0][key], other[key]) for key in weights[0])
