"""SIGKILL in the middle of a run, then `resume=true`: the weights of a run that was left alone, bit for bit?"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from benchmarks.exactness.kill_and_resume import Trainer, kill_once, rows
from benchmarks.gpu.checks.training import overrides
from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import model_overrides, train, verdict
from rlhf.runs import Summary


def compare(context: Context) -> dict[str, Any]:
    """Three runs of a stage: two left alone, of which one in this process, and one killed."""
    folder = context.folder / "resume"
    folder.mkdir()
    found: dict[str, Any] = {}
    wrong = []
    for stage, precision in (("dpo", "fp32"),) if context.tiny else (("dpo", "bf16"), ("sft", "fp32")):
        found[stage] = one(context, stage, precision, folder)
        context.note(stage, found[stage])
        wrong += [f"{stage}: {name}" for name in ("same_weights", "same_metrics") if not found[stage][name]]
    return {"says": verdict(wrong), "wrong": wrong, "found": found}


def one(context: Context, stage: str, precision: str, folder: Path) -> dict[str, Any]:
    """A stage; `repeatable` says whether two runs that nobody killed are alike, without which no other can be."""
    steps = 12 if context.tiny else 30
    lines = [
        *overrides(context, stage, folder, steps),
        # Of the small model: checkpoints are written all the time.
        *(model_overrides(context) if context.tiny else ["model=tiny", "model.init=random"]),
        "train.checkpoint_every=4",
        f"strategy.accelerator={context.accelerator}",
        f"strategy.precision={precision}",
    ]
    alone, twin, killed = (folder / f"{stage}-{name}" for name in ("alone", "twin", "killed"))
    train(lines, alone)
    train(lines, twin)
    # A fresh process each time, since CUDA can't be used in a fork of one that has started it.
    trainer = Trainer(folder, multiprocessing.get_context("spawn"))
    again = [*lines, f"hydra.run.dir={killed}", "resume=true"]
    died, _ = kill_once(trainer, again, killed, delay=0.0, aim=False)
    trainer.finish(again)
    whole, summary = Summary.read(alone), Summary.read(killed)
    return {
        "killed": died,
        "resumed_from": summary.resumed_from,
        "same_weights": summary.model_sha256 == whole.model_sha256,
        "same_metrics": rows(killed) == rows(alone),
        "repeatable": Summary.read(twin).model_sha256 == whole.model_sha256,
    }
