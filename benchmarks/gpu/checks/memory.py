"""Peak memory of a few steps beside what `plan.py` says."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.footprint import planned, task_of
from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import forget_memory, verdict
from benchmarks.workers.footprint import stage_of
from verbs.plan.lengths import assumed_lengths

CLOSE = 0.15
"""As docs/planner.md promises for a CPU."""

SIZES = ("data.max_length=256", "train.batch_size=16", "train.tokens_per_microbatch=4096", "plan.prompt_tokens=128")
CONFIGURATIONS: dict[str, list[str]] = {
    "dpo, GPT-2 124M, bf16": ["algo=dpo", *SIZES, "plan.response_tokens=128", "strategy.precision=bf16"],
    "sft, GPT-2 124M, fp32": ["algo=sft", *SIZES, "plan.response_tokens=128"],
    "ppo, GPT-2 124M, bf16": ["algo=ppo", *SIZES, "rollout.max_new_tokens=64", "strategy.precision=bf16"],
    "sft, GPT-2 124M, bf16, checkpointing": [
        *("algo=sft", *SIZES, "plan.response_tokens=128", "strategy.precision=bf16"),
        "strategy.gradient_checkpointing=true",
    ],
}


def compare(context: Context) -> dict[str, Any]:
    """Bytes that are planned and that were measured."""
    found: dict[str, Any] = {}
    for name, overrides in CONFIGURATIONS.items():
        if context.left < 8:
            break
        small = ["model.architecture.n_layer=1", "model.architecture.n_embd=48"] if context.tiny else []
        lines = ["model=gpt2", *overrides, *small, f"strategy.accelerator={context.accelerator}", "train.samples=0"]
        capacity = planned(lines)
        plan = int(capacity.peak.total)
        if context.device == "cpu":  # a process' memory is not the tensors' alone: benchmarks.footprint separates them
            found[name] = {"planned": plan, "skipped": "memory of a CPU is measured by benchmarks.footprint"}
        else:
            forget_memory()
            before = torch.cuda.memory_allocated()
            task = task_of(
                lines, capacity.config, assumed_lengths(capacity.config), context.folder / f"memory{len(found)}"
            )
            trainer, module, data = stage_of(task, [])
            trainer.fit(module, datamodule=data)
            measured = torch.cuda.max_memory_allocated() - before
            del trainer, module, data
            found[name] = {"planned": plan, "measured": measured, "ratio": plan / measured}
        context.note(name, found[name])
    wrong = [name for name, facts in found.items() if not abs(facts.get("ratio", 1.0) - 1) <= CLOSE]
    shown = ", ".join(f"{name}: {facts['ratio']:.2f}" for name, facts in found.items() if "ratio" in facts)
    return {"says": f"{verdict(wrong)}; planned / measured {shown or 'only planned'}", "wrong": wrong, "found": found}
