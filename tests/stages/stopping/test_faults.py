"""What may go wrong with a run, brought about."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import callbacks.checkpoint
from lightning_modules.base import StageModule
from lightning_modules.sft import SFTModule
from rlhf.errors import TrainingError
from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints

pytestmark = pytest.mark.ci


def weights(directory: str) -> dict[str, Any]:
    return load_file(Path(directory) / "model" / "model.safetensors")


def same(one: str, other: str) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)


class NoSpace:
    """From the given call on, the disk is full."""

    def __init__(self, right: Any, at: int) -> None:
        self.right, self.left = right, at

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.right(*args, **kwargs)


@pytest.mark.parametrize("mode", ["never", "always"])
def test_a_full_disk_at_a_checkpoint(mode: str, main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """In the background too it ends the run, and what was written before is good."""
    command = f"algo=pretrain hydra.run.dir=run train.async_checkpoint={mode}"
    with monkeypatch.context() as patch:
        full = NoSpace(callbacks.checkpoint.write_checkpoint, 2)
        patch.setattr(callbacks.checkpoint, "write_checkpoint", full)
        assert main(command) == 2
    said = capfd.readouterr().err
    assert "step-00000004.ckpt: the checkpoint could not be written: no space is left on the disk" in said
    assert "the last whole one is step-00000002.ckpt" in said and len(said.splitlines()) == 1
    assert main(f"{command} resume=true") == 0
    assert Summary.read(Path("run")).resumed_from == 2


def test_a_full_disk_in_the_background_and_another_fault_first(
    main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """The first fault is what the run ends with; the checkpoint that is missing is named beside it."""
    right, steps = SFTModule.training_step, iter(range(99))

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(steps) == 3:
            failed.set()
            raise TrainingError("the loss is not finite")
        return right(self, *args, **kwargs)

    def full(path: Path, state: dict[str, Any]) -> None:
        assert failed.wait(60)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failed = threading.Event()
    monkeypatch.setattr(callbacks.checkpoint, "write_checkpoint", full)
    monkeypatch.setattr(SFTModule, "training_step", broken)
    assert main("algo=sft model.init=random hydra.run.dir=run train.async_checkpoint=always") == 2
    said = capfd.readouterr().err
    assert "the loss is not finite" in said and "Traceback" not in said
    logged = Path("run/train.log").read_text()
    assert "step-00000002.ckpt: the checkpoint could not be written: no space is left on the disk" in logged


def test_a_full_disk_at_a_row_of_metrics(main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    from tracking.csv_logger import CSVMetrics

    with monkeypatch.context() as patch:
        patch.setattr(CSVMetrics, "_line", staticmethod(NoSpace(CSVMetrics._line, 6)))
        assert main("algo=pretrain hydra.run.dir=run") == 2
    said = capfd.readouterr().err
    assert "metrics.csv: could not be written: no space is left on the disk" in said and len(said.splitlines()) == 1
    assert main("algo=pretrain hydra.run.dir=whole") == 0
    assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    assert same("run", "whole")


def test_a_full_disk_at_the_samples(main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    import callbacks.samples

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.samples, "json_line", NoSpace(callbacks.samples.json_line, 1))
        assert main("algo=sft model.init=random hydra.run.dir=run") == 2
    assert "samples.jsonl: could not be written: no space is left on the disk" in capfd.readouterr().err


def test_a_damaged_last_checkpoint(main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The one before serves, and the run ends with the same bits."""
    assert main("algo=pretrain hydra.run.dir=whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr("verbs.train.stage.export", NoSpace(None, 1))
        assert main("algo=pretrain hydra.run.dir=run") == 2, "a full disk"
    last = checkpoints(Path("run"))[-1]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    capfd.readouterr()
    assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    said = capfd.readouterr()
    assert "step-00000006.ckpt can't be read (the checksum of" in said.out + said.err
    assert Summary.read(Path("run")).resumed_from == 4
    assert same("run", "whole")
    assert last.with_suffix(".broken").exists() and last.exists(), "written anew, and the damaged one set aside"


def test_bad_steps_are_the_same_after_a_resume(main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Skipped, counted over the resume, and stopped by the rule of the whole run."""
    right = SFTModule.loss_sum

    def loss_sum(self: Any, batch: Any) -> Any:
        loss, report = right(self, batch)
        bad = self.step in (1, 3) and self.trainer.training
        return (loss * float("nan") if bad else loss), report

    def killed(self: Any, step: Any, batch_idx: int) -> Any:
        if self.step == 3:
            raise RuntimeError("killed")
        return training_step(self, step, batch_idx)

    monkeypatch.setattr(SFTModule, "loss_sum", loss_sum)
    training_step = StageModule.training_step
    assert main("algo=pretrain hydra.run.dir=whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "training_step", killed)
        assert main("algo=pretrain hydra.run.dir=run") == 1
    assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    assert same("run", "whole")
    assert Summary.read(Path("run")).final["train/skipped"] == Summary.read(Path("whole")).final["train/skipped"] == 2
    assert sorted(p.name for p in Path("run").glob("bad_batch*")) == [f"bad_batch-0000000{n}.json" for n in (2, 4)]
    capfd.readouterr()
    assert main("algo=pretrain hydra.run.dir=strict train.max_bad_steps=1") == 2
    assert "step 2: loss is nan" in capfd.readouterr().err


def test_no_worker_loads_data_that_could_die(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are in memory and batches functions of the step: there is no process that a run could wait for in vain."""
    seen: list[Any] = []
    right = StageModule.training_step

    def training_step(self: StageModule, step: Any, batch_idx: int) -> Any:
        seen.append((multiprocessing.active_children(), type(self.trainer.train_dataloader).__name__))
        return right(self, step, batch_idx)

    monkeypatch.setattr(StageModule, "training_step", training_step)
    assert main("algo=pretrain hydra.run.dir=run train.max_steps=1") == 0
    assert seen == [([], "Stretch")]
