"""`strategy=fsdp` and `strategy=zero2` on one device, beside a single process without either."""

from __future__ import annotations

from typing import Any

from benchmarks.exactness.layouts import Cell, run
from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import verdict

CLOSE = {"fp32": 1e-4, "bf16": 3e-2}
"""Largest difference of a loss: shards in bf16 gather their weights in bf16, autocast converts them as it goes."""


def compare(context: Context) -> dict[str, Any]:
    """A few updates of the tiny model: a process group with one member, shards of whole size."""
    folder = context.folder / "layouts"
    folder.mkdir()
    extra = f"strategy.accelerator={context.accelerator}"
    wanted = [("sft", "fsdp", "fp32"), ("sft", "zero2", "fp32")]
    if not context.tiny:
        wanted += [("ppo", "fsdp", "fp32"), ("sft", "fsdp", "bf16")]
    cells = [Cell(stage, layout, precision, extra) for stage, layout, precision in wanted]
    deviations = run(cells, folder, devices=1, timeout=context.left - 3)
    found = {
        f"{c.stage} {c.layout} {c.precision}": {"loss": d.loss, "weights": d.weights} for c, d in deviations.items()
    }
    wrong = [name for name, gap in found.items() if not gap["loss"] <= CLOSE[name.split()[-1]]]
    return {"says": verdict(wrong), "wrong": wrong, "found": found}
