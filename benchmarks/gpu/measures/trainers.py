"""A stage's steps beside TRL's trainers: the same examples, model and precision, and losses that agree."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from benchmarks.gpu.local_link import LocalLink, run_here
from benchmarks.gpu.measures.models import MODELS, Shape
from benchmarks.gpu.measures.peaks import peak
from benchmarks.gpu.parts import Context, Skipped
from benchmarks.gpu.trial import log
from benchmarks.measure import WARM_UP, Bench, Disagreement, compare_losses, side_of, useful_arithmetic
from benchmarks.prepare import prepare
from benchmarks.summary import Comparison
from rlhf.config import algorithms

LOOSER = {"fp32": 1.0, "bf16": 100.0}
"""Factor of the tolerances of losses: bf16 has 8 bits of mantissa, and the sides round in other places."""
LENGTHS = {"sft": [248, 96], "reward": [248, 82, 102], "dpo": [248, 82, 102], "ppo": [248]}
"""Prompt and responses, where there are no data: about what HH-RLHF has in tokens of GPT-2."""
DIRECT = {"gradient_checkpointing": False}
"""TRL recomputes activations by default, which costs a third more arithmetic and saves memory."""


def bench_of(context: Context, stage: str, name: str, precision: str, blocks: int) -> tuple[Bench, Shape]:
    """Model and examples on disk, for `blocks` timed steps."""
    shape = MODELS["tiny" if context.tiny else name]
    batch = 2 if context.tiny else shape.batch
    options: dict[str, Any] = {
        "lr": 1e-5,
        "max_length": 64 if context.tiny else 512,
        "new_tokens": 5 if context.tiny else 53,
        "critic": "separate",
        "epochs": 2 if context.tiny else 4,
        "tokens_per_microbatch": 64 if context.tiny else shape.tokens_per_microbatch,
    }
    if algorithms()[stage].on_policy:
        options["max_grad_norm"] = 1e9  # TRL's PPO does not clip gradients
    lengths = [n // 40 + 2 for n in LENGTHS[stage]] if context.tiny else LENGTHS[stage]
    request = {
        "stage": stage,
        "seed": 1,
        "count": batch * (WARM_UP + blocks),
        "max_length": options["max_length"],
        "new_tokens": options["new_tokens"],
        "data": str(context.data) if context.data and not context.tiny else None,
        "lengths": lengths,
    }
    folder = context.folder / f"{stage}-{name}-{precision}"
    task = prepare(request | shape.request(context.device), folder / "shared")
    task |= {"accelerator": context.accelerator, "precision": precision}
    threads = len(os.sched_getaffinity(0))
    bench = Bench(stage, task, options, batch, blocks, threads, folder, False, say=log, looser=LOOSER[precision])
    return bench, shape


def task_of(bench: Bench, name: str, **options: Any) -> dict[str, Any]:
    """What a worker of this bench is told."""
    steps = WARM_UP + bench.blocks
    folder = bench.scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    return bench.task | {
        "stage": bench.stage,
        "batch": bench.batch,
        "steps": steps,
        "threads": bench.threads,
        "options": bench.options | options,
        "scratch": str(folder),
        "keep_freed_memory": False,
    }


def beside_trl(context: Context, stage: str, name: str, precision: str = "bf16", blocks: int = 8) -> dict[str, Any]:
    """Ours, then TRL as it comes and without checkpointing, whose losses must agree with ours."""
    with suppress(ModuleNotFoundError):
        import trl  # noqa: F401

        from benchmarks.workers.trl_trainers import run as trl_run
    if "trl" not in sys.modules:
        raise Skipped("TRL is not installed; benchmarks/gpu/pack.sh brings it")
    from benchmarks.workers.ours import run as ours_run

    bench, shape = bench_of(context, stage, name, precision, 1 if context.tiny else blocks)
    ours = run_here(ours_run, task_of(bench, "ours"))
    found: dict[str, Any] = {}
    wrong: list[str] = []
    micro = bench.batch if context.tiny else shape.micro_batch
    settings = {"default": ({}, min(8, bench.batch)), "direct": (DIRECT, micro)}
    for setting, (arguments, size) in settings.items():
        if setting == "default" and (context.tiny or context.left < 20):
            continue
        fresh_accelerate()
        task = task_of(bench, f"trl-{setting}", setting=dict(arguments), micro_batch=size)
        try:
            peer = run_here(trl_run, task)
        except torch.OutOfMemoryError as error:
            context.note(setting, f"TRL ran out of memory: {error}")
            continue
        comparison = comparison_of(context, bench, setting, size, precision, ours, peer)
        try:
            compare_losses(bench, [{"ours": a, "peer": b} for a, b in zip(steps(ours), steps(peer), strict=True)])
        except Disagreement as error:
            wrong.append(f"{setting}: {error}")
        found[setting] = brief(comparison)
        context.note(setting, found[setting])
    alone = None
    if not found:
        alone = brief(comparison_of(context, bench, "ours alone", 0, precision, ours, None))
    told = says(found, wrong) or "ours alone: TRL ran out of memory or time"
    facts = {"model": name, "precision": precision, "settings": found, "alone": alone}
    return {"says": told, "wrong": wrong} | facts


def fresh_accelerate() -> None:
    """TRL's trainers of one process share accelerate's state, precision included."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def steps(link: LocalLink) -> list[dict[str, Any]]:
    """Answers without that of the preparation."""
    return link.answers[1:] if link.facts.get("prepares") else link.answers


def comparison_of(
    context: Context, bench: Bench, setting: str, micro: int, precision: str, ours: LocalLink, peer: LocalLink | None
) -> Comparison:
    """Medians, memory and the share of the card's peak."""
    total = WARM_UP + bench.blocks

    def side(link: LocalLink) -> Any:
        share = link.answers[0]["seconds"] / total if link.facts.get("prepares") else 0.0
        return side_of(share, steps(link), {})

    timed = bench.task["examples"][WARM_UP * bench.batch :]
    theirs = side(peer) if peer is not None else None
    useful = useful_arithmetic(bench, timed)
    return Comparison(bench.stage, setting, micro, bench.batch, side(ours), theirs, useful, peak(context, precision))


def brief(comparison: Comparison) -> dict[str, Any]:
    """What is kept of a comparison."""
    record = comparison.record()
    names = (
        "setting",
        "micro_batch",
        "examples",
        "ratio",
        "spread",
        "memory_ratio",
        "fraction",
        "step_fraction",
        "peak",
    )
    kept = {name: record[name] for name in names} | {"examples_per_second": record["examples_per_second"]}
    for side in ("ours", "peer"):
        if record[side] is not None:
            kept[side] = {name: record[side][name] for name in ("preparation", "seconds", "memory")}
            kept[side]["checks"] = [fact["checks"] for fact in record[side]["facts"][:3]]
    return kept


def says(found: dict[str, Any], wrong: list[str]) -> str:
    parts = [
        f"{facts['examples_per_second']['ours']:.3g}/s, {facts['ratio']:.2f} × TRL {name}, "
        f"memory {facts['memory_ratio']:.2f} ×, {facts['fraction']:.0%} of peak"
        for name, facts in found.items()
    ]
    return "; ".join([*parts, *(["losses differ"] if wrong else [])])


def part(stage: str, name: str, precision: str = "bf16", blocks: int = 8) -> Callable[[Context], dict[str, Any]]:
    return lambda context: beside_trl(context, stage, name, precision, blocks)


dpo_losses = part("dpo", "gpt2", "fp32", 2)
dpo_gpt2, sft_gpt2, reward_gpt2 = part("dpo", "gpt2"), part("sft", "gpt2"), part("reward", "gpt2")
dpo_half, sft_half = part("dpo", "0.5B", blocks=6), part("sft", "0.5B", blocks=6)
dpo_large = part("dpo", "1.5B", blocks=4)
