"""Where a step's time goes: how long the device computes, and how long it waits for Python."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.footprint import task_of
from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import forget_memory, settle
from benchmarks.workers.footprint import stage_of
from launch.composition.compose import load

WARM, STEPS = 3, 3
"""Steps before the profiled ones, in which kernels are compiled and chosen, and the profiled ones."""
SHOWN = 12
"""Operations that are listed."""


class Profile(L.Callback):
    """Times `STEPS` steps plainly, and then profiles as many."""

    def __init__(self, device: str) -> None:
        self.device = device
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self.profiler = torch.profiler.profile(activities=activities)
        self.seconds = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        if module.step == WARM:
            settle(self.device)
            self.seconds = -time.perf_counter()
        elif module.step == WARM + STEPS:
            settle(self.device)
            self.seconds += time.perf_counter()
            self.profiler.start()
        elif module.step == WARM + 2 * STEPS:
            settle(self.device)
            self.profiler.stop()


def summary(context: Context) -> dict[str, Any]:
    """Of GPT-2 124M in bf16: sft, dpo and ppo."""
    found: dict[str, Any] = {}
    for stage in ("dpo",) if context.tiny else ("dpo", "ppo", "sft"):
        if context.left < 10:
            break
        found[stage] = of(context, stage, context.folder / f"profile-{stage}")
        context.note(stage, found[stage])
    shown = ", ".join(f"{stage}: {facts['lost_share']:.0%}" for stage, facts in found.items() if "lost_share" in facts)
    return {"says": f"of a step outside of kernels: {shown or 'no GPU, CPU operations only'}", "found": found}


def of(context: Context, stage: str, folder: Path) -> dict[str, Any]:
    """Seconds of a step, of its kernels, and the operations that take most of the CPU's and the device's time."""
    size, tokens = (2, 8) if context.tiny else (32, 128)
    small = ["model.architecture.n_layer=1", "model.architecture.n_embd=48"] if context.tiny else []
    overrides = [
        *(f"algo={stage}", "model=gpt2", *small, "data.max_length=512", f"train.batch_size={size}"),
        *(f"strategy.accelerator={context.accelerator}", "strategy.precision=bf16", "train.log_every=1"),
        *(f"rollout.max_new_tokens={tokens // 4}", "train.tokens_per_microbatch=8192"),
    ]
    steps = f"train.max_steps={WARM + 2 * STEPS}"
    task = task_of(overrides, load(overrides), (tokens, tokens), folder, [steps])
    # As many examples as that are steps.
    task["examples"] *= -(-(WARM + 2 * STEPS) * size // len(task["examples"]))
    forget_memory()
    profile = Profile(context.device)
    trainer, module, data = stage_of(task, [profile])
    trainer.fit(module, datamodule=data)
    events = profile.profiler.key_averages()
    seconds = profile.seconds / STEPS
    # Operations repeat the time of the kernels that they launch: kernels are the events of the device itself.
    # Annotations, such as of the optimiser's step, span kernels that are there themselves.
    plain = [event for event in events if not getattr(event, "is_user_annotation", False)]
    kernels = [event for event in plain if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.self_device_time_total for event in kernels) / 1e6 / STEPS
    own = [event for event in plain if event.device_type == torch.autograd.DeviceType.CPU]
    result: dict[str, Any] = {
        "step_seconds": seconds,
        "cpu": top(own, "self_cpu_time_total"),
        "launches": sum(event.count for event in kernels) / STEPS,
    }
    if context.device == "cuda":
        result |= {
            "kernel_seconds": busy,
            "lost_seconds": max(0.0, seconds - busy),
            "kernels": top(kernels, "self_device_time_total"),
        }
        result["lost_share"] = result["lost_seconds"] / seconds
    return result


def top(events: Any, name: str) -> list[dict[str, Any]]:
    """Operations by milliseconds of a step."""
    chosen = sorted(events, key=lambda event: -getattr(event, name))[:SHOWN]
    return [
        {
            "name": event.key[:120],
            "milliseconds": getattr(event, name) / 1e3 / STEPS,
            "calls": event.count / STEPS,
        }
        for event in chosen
    ]
