from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import callbacks.checkpoint
from callbacks.checkpoint import Checkpoint
from rlhf.config import LoopConfig
from rlhf.errors import TrainingError
from rlhf.runs.checkpoints import checkpoints, read_checkpoint

TRAINER: Any = SimpleNamespace(is_global_zero=True, strategy=SimpleNamespace(barrier=lambda name: None))


class Module:
    """Whose one weight is changed in place by every step."""

    best = None

    def __init__(self) -> None:
        self.step, self.weight = 0, torch.zeros(3)

    def train(self) -> Module:
        self.step += 1
        self.weight += 1
        return self

    def full_state(self) -> dict[str, Any]:
        return {"step": self.step, "weight": self.weight}


def test_what_is_written_meanwhile_is_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, right = threading.Event(), callbacks.checkpoint.write_checkpoint

    def slow(path: Path, state: dict[str, Any]) -> None:
        assert gate.wait(60)
        right(path, state)

    monkeypatch.setattr(callbacks.checkpoint, "write_checkpoint", slow)
    callback = Checkpoint(tmp_path, LoopConfig(async_checkpoint="always"))
    module = Module().train()
    callback.save(TRAINER, module)
    module.train()
    gate.set()
    callback.background.join()
    (path,) = checkpoints(tmp_path)
    assert read_checkpoint(path)["weight"].tolist() == [1, 1, 1]


def test_small_ones_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = Checkpoint(tmp_path, LoopConfig(async_checkpoint="auto"))
    callback.save(TRAINER, Module().train())
    assert callback.background._thread is None and len(checkpoints(tmp_path)) == 1
    monkeypatch.setattr(callbacks.checkpoint, "LARGE", 12)
    callback.save(TRAINER, Module().train().train())
    assert callback.background._thread is not None
    callback.background.join()
    assert len(checkpoints(tmp_path)) == 2


def test_a_failure_in_the_background_ends_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, state: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks.checkpoint, "write_checkpoint", full)
    callback = Checkpoint(tmp_path, LoopConfig(async_checkpoint="always"))
    callback.save(TRAINER, Module().train())
    assert callback.background._thread is not None
    callback.background._thread.join()
    with pytest.raises(TrainingError, match="no space is left on the disk; there is no earlier one"):
        callback.on_train_batch_end(TRAINER, Module(), None, None, 0)


def test_a_failure_in_the_background_is_told_where_training_fails_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def full(path: Path, state: dict[str, Any]) -> None:
        gate.wait(60)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks.checkpoint, "write_checkpoint", full)
    callback = Checkpoint(tmp_path, LoopConfig(async_checkpoint="always"))
    callback.save(TRAINER, Module().train())
    gate.set()
    callback.on_exception(TRAINER, Module(), ValueError("the loss is not finite"))
    assert callback.background._thread is None, "nothing is still being written"
    (record,) = caplog.records
    assert "step-00000001.ckpt" in record.getMessage() and "no space is left on the disk" in record.getMessage()
