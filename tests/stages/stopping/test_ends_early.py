"""`train.stop_at`: a run that passes a limit ends there, finished; and what is exported of an average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints, read_checkpoint
from tests.stages.stopping.test_resume import Killed, kill_before_step, numbers, weights

pytestmark = pytest.mark.ci


def test_a_limit_of_a_held_out_metric_ends_a_run_which_is_finished(
    main: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    rule = "train.stop_at={val/loss:{max:0.001}}"
    assert main("algo=pretrain hydra.run.dir=plain train.max_steps=5") == 0
    assert main(f"algo=pretrain hydra.run.dir=run {rule}") == 0
    summary = Summary.read(Path("run"))
    assert (summary.status, summary.steps) == ("finished", 4), "the first validation is after step 4 of 6"
    assert summary.stopped is not None and "val/loss" in summary.stopped and "0.001" in summary.stopped
    assert summary.stopped in capfd.readouterr().out
    assert checkpoints(Path("run"))[-1].name == "step-00000004.ckpt" and weights("run")
    assert summary.id != Summary.read(Path("plain")).id
    assert main(f"algo=pretrain hydra.run.dir=run {rule} resume=true") == 0

    def killed(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("verbs.train.stage.export", killed)
        assert main(f"algo=pretrain hydra.run.dir=parts {rule}") == 1
    with monkeypatch.context() as patch:
        kill_before_step(patch, 4)  # any further step would fail
        assert main(f"algo=pretrain hydra.run.dir=parts {rule} resume=true") == 0
    assert all(torch.equal(weights("parts")[name], value) for name, value in weights("run").items())
    assert numbers("parts") == numbers("run") and Summary.read(Path("parts")).stopped == summary.stopped


def test_a_limit_of_a_training_metric_ends_it_after_a_validation(main: Any, capfd: Any) -> None:
    assert main("algo=pretrain hydra.run.dir=run train.stop_at={train/loss:{max:0.001}} train.log_every=4") == 0
    assert (Summary.read(Path("run")).status, Summary.read(Path("run")).steps) == ("finished", 1)
    last = numbers("run")[-1]
    assert last["step"] == "1" and "val/loss" in last and "train/loss" in last
    assert main("algo=pretrain hydra.run.dir=other train.stop_at={train/los:{max:1}}") == 2
    assert "train.stop_at.train/los: " in capfd.readouterr().err
    assert main("algo=pretrain hydra.run.dir=none data.val_fraction=0 train.stop_at={val/loss:{max:1}}") == 2
    assert "train.stop_at.val/loss: " in capfd.readouterr().err


def test_what_is_exported_is_the_average_of_the_weights(main: Any) -> None:
    """Σ d^(6−t)·θ_t / Σ d^(6−t) over the weights after each of the six updates, and no update has changed for it."""
    every = "train.checkpoint_every=1 train.keep_checkpoints=9"
    assert main("algo=pretrain hydra.run.dir=last") == 0
    assert main(f"algo=pretrain hydra.run.dir=mean algo.ema_decay=0.6 {every}") == 0
    states = [read_checkpoint(path)["model"] for path in checkpoints(Path("mean"))]
    counts = [0.6 ** (6 - t) for t in range(1, 7)]
    assert len(states) == 6
    for name, found in weights("mean").items():
        expected = sum(c * state[f"policy.hf.{name}"] for c, state in zip(counts, states, strict=True)) / sum(counts)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(weights("last")[name], states[-1][f"policy.hf.{name}"])
        assert not torch.equal(found, states[-1][f"policy.hf.{name}"])
    losses = [[row["train/loss"] for row in numbers(run) if "train/loss" in row] for run in ("last", "mean")]
    assert losses[0] == losses[1]
    assert numbers("last")[-1]["val/loss"] != numbers("mean")[-1]["val/loss"], "validated with the average"
