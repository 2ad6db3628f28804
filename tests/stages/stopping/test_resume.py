"""A run that was stopped and continued ends with the same bits as one that never was."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from lightning_modules.base import StageModule
from rlhf.config import algorithms
from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints, read_checkpoint, step_of
from tests.stages.conftest import starts

OWN = {"ppo": "algo.kl_controller=adaptive"}
"""What an algorithm keeps beside weights and moments."""
MOVING = "algo.ema_decay=0.6 algo.reference_sync_steps=3 algo.reference_mixup=0.5"
STAGES = [
    *(
        pytest.param(name, OWN.get(name, ""), marks=[] if name == "sft" else [pytest.mark.ci], id=name)
        for name in algorithms()
    ),
    pytest.param("sft", "algo.ema_decay=0.6", marks=[pytest.mark.ci], id="sft-average"),
    pytest.param("dpo", MOVING, marks=[pytest.mark.ci], id="dpo-moving"),
    pytest.param("ppo", f"{MOVING} algo.critic=shared", marks=[pytest.mark.ci], id="ppo-moving"),
]
CLOCKED = ("seconds", "per_second", "time/")


class Killed(Exception):
    """Stands for what no code can catch."""


@pytest.fixture
def parents(main: Any) -> dict[str, str]:
    """A finished SFT run and a finished reward run, for the stages that build on them."""
    assert main("algo=sft train.max_steps=2 hydra.run.dir=sft") == 0
    assert main("algo=reward train.max_steps=2 hydra.run.dir=rm model.init=sft") == 0
    return starts("sft", "rm") | {"pretrain": "", "sft": "model.init=random"}


def kill_before_step(monkeypatch: pytest.MonkeyPatch, number: int) -> pytest.MonkeyPatch:
    right = StageModule.training_step

    def training_step(self: StageModule, step: Any, batch_idx: int) -> Any:
        if self.step == number:
            raise Killed
        return right(self, step, batch_idx)

    monkeypatch.setattr(StageModule, "training_step", training_step)
    return monkeypatch


def numbers(directory: str) -> list[dict[str, str]]:
    """`metrics.csv` without what a clock says."""
    with open(Path(directory) / "metrics.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if v and not any(c in k for c in CLOCKED)} for row in rows]


def send_before_step(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """The signal arrives while the step is under way."""
    right = StageModule.training_step

    def training_step(self: StageModule, batch: Any, batch_idx: int) -> Any:
        if self.step == step:
            os.kill(os.getpid(), number)
        return right(self, batch, batch_idx)

    monkeypatch.setattr(StageModule, "training_step", training_step)


def weights(directory: str) -> dict[str, Any]:
    return load_file(Path(directory) / "model" / "model.safetensors")


@pytest.mark.parametrize(("stage", "own"), STAGES)
def test_killed_and_continued_is_bit_identical(
    stage: str, own: str, main: Any, parents: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"algo={stage} {parents[stage]} {own}"
    assert main(f"{command} hydra.run.dir=whole") == 0
    with monkeypatch.context() as patch:
        kill_before_step(patch, 5)  # checkpoints after 2 and 4 (with a validation), rows logged until 5
        assert main(f"{command} hydra.run.dir=parts") == 1
    assert Summary.read(Path("parts")).status == "failed"
    assert [path.name for path in checkpoints(Path("parts"))] == ["step-00000002.ckpt", "step-00000004.ckpt"]
    assert main(f"{command} hydra.run.dir=parts resume=true") == 0

    summary = Summary.read(Path("parts"))
    assert (summary.status, summary.resumed_from, summary.steps) == ("finished", 4, 6)
    whole, parts = (load_file(Path(name) / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)
    assert numbers("parts") == numbers("whole")
    assert [int(row["step"]) for row in numbers("parts")] == list(range(7))
    if algorithms()[stage].answers():
        samples = [Path(name, "samples.jsonl").read_text(encoding="utf-8") for name in ("whole", "parts")]
        assert samples[0] == samples[1]
        assert [json.loads(line)["step"] for line in samples[0].splitlines()] == [0, 0, 4, 4, 6, 6]


def test_a_killed_run_forgets_rows_after_its_checkpoint(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of steps that will be made again must not stand there twice."""
    with monkeypatch.context() as patch:
        kill_before_step(patch, 3)
        assert main("algo=pretrain hydra.run.dir=parts") == 1
    assert [row["step"] for row in numbers("parts")] == ["0", "1", "2", "3"]
    assert main("algo=pretrain hydra.run.dir=parts resume=true train.checkpoint_every=2") == 0
    assert [row["step"] for row in numbers("parts")] == [str(i) for i in range(7)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)], ids=lambda value: str(value)
)
def test_a_signal_finishes_the_step_saves_and_ends(
    number: signal.Signals, code: int, main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        send_before_step(patch, 2, number)
        assert main("algo=pretrain hydra.run.dir=run") == code
    assert signal.getsignal(number) is before
    said = capfd.readouterr().err
    assert said.count("resume=true") == 1 and said.count("this step is finished and saved first") == 1
    summary = Summary.read(Path("run"))
    assert (summary.status, summary.steps) == ("interrupted", 3)
    assert checkpoints(Path("run"))[-1].name == "step-00000003.ckpt"
    assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    assert Summary.read(Path("run")).resumed_from == 3


def test_a_signal_in_a_step_that_is_validated_waits_for_that(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the continued run would lack the validation's row."""
    assert main("algo=pretrain hydra.run.dir=whole") == 0
    with monkeypatch.context() as patch:
        send_before_step(patch, 3, signal.SIGTERM)
        assert main("algo=pretrain hydra.run.dir=parts") == 75
    assert numbers("parts")[-1]["step"] == "4" and "val/loss" in numbers("parts")[-1]
    assert main("algo=pretrain hydra.run.dir=parts resume=true") == 0
    assert numbers("parts") == numbers("whole")


def test_a_signal_before_the_first_step_ends_the_run_at_once(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def validation_step(self: StageModule, micro: Any, batch_idx: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "validation_step", validation_step)
        assert main("algo=pretrain hydra.run.dir=run") == 75
    assert (Summary.read(Path("run")).status, checkpoints(Path("run"))) == ("interrupted", [])
    assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    assert Summary.read(Path("run")).resumed_from is None


def test_killed_while_exporting(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are done and saved, only the export is missing: nothing is trained again."""

    def killed(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("verbs.train.stage.export", killed)
        assert main("algo=pretrain hydra.run.dir=run") == 1
    with monkeypatch.context() as patch:
        kill_before_step(patch, 6)  # any further step would fail
        assert main("algo=pretrain hydra.run.dir=run resume=true") == 0
    summary = Summary.read(Path("run"))
    assert summary.resumed_from == 6
    assert summary.final["train/loss"] > 0 and summary.final["val/loss"] > 0, "metrics are those of the checkpoint"
    assert (Path("run") / "model" / "model.safetensors").exists()


def test_what_is_kept_and_written_meanwhile(main: Any) -> None:
    """A checkpoint in the background, of the best validation, and of every third step."""
    assert main("algo=pretrain hydra.run.dir=whole") == 0
    rules = "train.async_checkpoint=always train.keep_best=true train.keep_every=3 train.keep_checkpoints=1"
    assert main(f"algo=pretrain hydra.run.dir=run {rules} train.checkpoint_every=1 train.val_every=2") == 0
    losses = {
        int(row["step"]): float(row["val/loss"]) for row in numbers("run") if "val/loss" in row and row["step"] != "0"
    }
    best = min(losses, key=lambda step: losses[step])
    assert {step_of(path) for path in checkpoints(Path("run"))} == {best, 3, 6}
    state = read_checkpoint(checkpoints(Path("run"))[-1])
    assert state["best"] == (best, pytest.approx(losses[best]))
    assert all((weights("run")[name] == value).all() for name, value in weights("whole").items())
    rules = "train.keep_best=true train.keep_checkpoints=9 train.checkpoint_every=5 train.val_every=3 train.max_steps=5"
    assert main(f"algo=pretrain hydra.run.dir=other {rules}") == 0
    assert {step_of(path) for path in checkpoints(Path("other"))} == {3, 5}, "3 is not due, but the best so far"
