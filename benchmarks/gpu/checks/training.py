"""Every stage on the device in fp32 and bf16, its loss curve beside the CPU's; PPO's first ratio."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Context
from benchmarks.gpu.process import ROOT
from benchmarks.gpu.trial import QUIET, Trial, distance, model_overrides, rows_of, threads, train, verdict
from rlhf.config import algorithms

STAGES = ("pretrain", "sft", "reward", "dpo", "ppo")
CLOSE = {"fp32": 1e-3, "bf16": 3e-2}
"""Relative distance to the CPU's first loss that rounding explains."""
FEWEST_SECONDS = 15.0
"""A stage is not begun with less, so that what was found before is still compared."""
RATIO = 1e-3
"""How far the mean ratio of a first update may be from 1; rebatched rows in bf16 can be 3e-2 apart."""


def overrides(context: Context, stage: str, folder: Path, steps: int) -> list[str]:
    """A short run whose learning rate does not depend on its length."""
    found = [
        f"algo={stage}",
        *QUIET,
        f"data.limit={60 if context.tiny else 300}",
        f"train.batch_size={4 if context.tiny else 16}",
        f"train.max_steps={steps}",
        "train.epochs=null",
        "train.val_every=null",
        "train.val_batches=1",
        "train.val_prompts=4",
        f"rollout.max_new_tokens={4 if context.tiny else 16}",
        "algo.lr_schedule=constant",
        "algo.warmup_steps=0",
        # Several micro-batches in an update, all of one size for FlexAttention: each size is compiled for seconds.
        f"train.tokens_per_microbatch={128 if context.tiny else 256}",
    ]
    if algorithms()[stage].on_policy:
        # One update of each rollout: its ratio must be 1.
        found += ["algo.epochs=1", "algo.minibatches=1", "algo.samples_per_prompt=2"]
        found += [f"algo.reward_model={folder / 'reward'}"]
    return found


def on_device(context: Context, model: list[str], folder: Path, precision: str, steps: int) -> dict[str, Trial]:
    """All stages, in one precision, as far as the time goes."""
    found: dict[str, Trial] = {}
    for stage in STAGES:
        if context.left < FEWEST_SECONDS:
            break
        own = [f"strategy.accelerator={context.accelerator}", f"strategy.precision={precision}"]
        lines = [*overrides(context, stage, folder, steps), *model, *own]
        found[stage] = train(lines, folder / stage)
        context.note(f"{precision} {stage}", {"losses": found[stage].losses, "seconds": found[stage].seconds})
    return found


def tiny(context: Context) -> dict[str, Any]:
    """The embedded model, on the device and on the CPU."""
    model = model_overrides(context) if context.tiny else ["model=tiny", "model.init=random"]
    steps = 2 if context.tiny else 20
    # In a rehearsal the CPU's curves are these themselves; the other part rehearses the process of its own.
    return beside_cpu(context, model, context.folder / "tiny", steps, steps, apart=context.device != "cpu")


def gpt2(context: Context) -> dict[str, Any]:
    """GPT-2 124M; the CPU, which is slow, makes a few updates of each stage."""
    folder = context.folder / "gpt2"
    return beside_cpu(context, model_overrides(context), folder, 2 if context.tiny else 20, 2 if context.tiny else 4)


def beside_cpu(
    context: Context, model: list[str], folder: Path, steps: int, cpu_steps: int, apart: bool = True
) -> dict[str, Any]:
    """Curves on the device while, with `apart`, a process of its own makes the CPU's."""
    folder.mkdir(parents=True)
    cpu = folder / "cpu"
    reference = start_cpu(context, model, cpu, cpu_steps) if apart else None
    curves = {precision: on_device(context, model, folder / precision, precision, steps) for precision in CLOSE}
    if reference is None:
        own = curves["fp32"]
        reference_curves = {stage: own[stage].losses if stage in own else [] for stage in STAGES}
    else:
        wait(reference, context.left - 5)
        reference_curves = {stage: read_losses(cpu / stage) for stage in STAGES}
    gaps = {
        precision: {stage: distance(trial.losses, reference_curves[stage]) for stage, trial in trials.items()}
        for precision, trials in curves.items()
    }
    wrong = [
        f"{precision} {stage}"
        for precision, found in gaps.items()
        for stage, gap in found.items()
        if gap["steps"] and not gap["first"] <= CLOSE[precision]
    ]
    ratios = {precision: ratio(trials["ppo"]) for precision, trials in curves.items() if "ppo" in trials}
    wrong += [f"{precision} PPO's first ratio" for precision, found in ratios.items() if not found["off"] <= RATIO]
    return {
        "says": verdict(wrong),
        "wrong": wrong,
        "beside_cpu": gaps,
        "cpu_losses": reference_curves,
        "first_ratio": ratios,
        "seconds": {p: {stage: t.seconds for stage, t in trials.items()} for p, trials in curves.items()},
        "peak_bytes": {p: {stage: t.peak for stage, t in trials.items()} for p, trials in curves.items()},
    }


def ratio(trial: Trial) -> dict[str, float]:
    """Of the first updates after rollouts: the mean ratio furthest from 1, and the share that is clipped."""
    return {
        "off": max(abs(value - 1) for value in trial.values("policy/ratio")),
        "clipped": max(trial.values("policy/clip_fraction")),
        "approx_kl": max(trial.values("policy/approx_kl")),
    }


def start_cpu(context: Context, model: list[str], folder: Path, steps: int) -> subprocess.Popen[bytes]:
    """The same runs on the CPU alone, in fp32."""
    folder.mkdir()
    lines = [
        " ".join(
            [
                *overrides(context, stage, folder, steps),
                *model,
                "strategy.accelerator=cpu",
                f"strategy.threads={threads()}",
                f"hydra.run.dir={folder / stage}",
            ]
        )
        for stage in STAGES
    ]
    file = folder / "lines.json"
    file.write_text(json.dumps(lines), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "workers" / "cells.py"), str(file)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(threads())},
        stdin=subprocess.DEVNULL,
    )


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until it has ended, or the time is over: what it has written by then is compared."""
    try:
        process.wait(timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_losses(folder: Path) -> list[float]:
    """Of a run that may not have finished, or begun."""
    try:
        return Trial(folder, 0.0, 0, rows_of(folder)).losses
    except (OSError, csv.Error):
        return []
