"""Two processes of one run: when one is killed, the other ends soon, and says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints

ROOT = Path(__file__).parents[3]
LINE = (
    "algo=pretrain model.architecture.n_embd=32 model.architecture.n_layer=2 data.limit=300 logger=csv "
    "callbacks.progress=false train.batch_size=8 train.checkpoint_every=2 train.max_steps=100000 train.val_every=null "
    "strategy.accelerator=cpu strategy.devices=2 strategy.threads=1 hydra.run.dir=run"
)
PATIENCE = 300
"""Seconds for what takes a few on a machine that does nothing else."""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def start(folder: Path, layout: str) -> tuple[subprocess.Popen[str], int]:
    """The first process, and the pid of the second, once both are training."""
    command = [sys.executable, str(ROOT / "train.py"), *LINE.split(), f"strategy={layout}"]
    first = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: checkpoints(folder / "run") or first.poll() is not None, "no checkpoint")
    assert first.poll() is None, first.communicate()[0]
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    (second,) = [
        int(pid) for pid in children if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    ]
    return first, second


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for the second process in /proc")
@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
def test_the_second_process_dies(tmp_path: Path, layout: str) -> None:
    first, second = start(tmp_path, layout)
    os.kill(second, signal.SIGKILL)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 1
    assert f"process 1 of 2 (pid {second}) was ended by SIGKILL" in said
    assert said.count("resume=true") == 1 and "Traceback" not in said
    summary = Summary.read(tmp_path / "run")
    assert summary.status == "failed" and "process 1 of 2" in str(summary.error)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for the second process in /proc")
def test_the_first_process_dies(tmp_path: Path) -> None:
    first, second = start(tmp_path, "ddp")
    os.kill(first.pid, signal.SIGKILL)
    said, _ = first.communicate(timeout=60)  # ends when the second has closed its end of the pipe
    until(lambda: gone(second), "the second process is still there")
    assert "the first process of this run died" in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for the second process in /proc")
def test_a_signal_to_the_second_process_stops_both_in_order(tmp_path: Path) -> None:
    first, second = start(tmp_path, "ddp")
    os.kill(second, signal.SIGUSR1)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 75, said
    summary = Summary.read(tmp_path / "run")
    assert summary.status == "interrupted"
    assert checkpoints(tmp_path / "run")[-1].name == f"step-{summary.steps:08d}.ckpt"
