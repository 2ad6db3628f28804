"""What the card can do: matrix products and copies, which every share of the peak is taken of."""

from __future__ import annotations

import json
from typing import Any

import torch

from benchmarks.gpu.parts import Context
from benchmarks.gpu.trial import clock

FILE = "peaks.json"


def measure(context: Context) -> dict[str, Any]:
    """Operations per second of a square matrix product by precision, and bytes read and written per second."""
    size, copied = (256, 1 << 20) if context.tiny else (8192, 1 << 30)
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        # Not zeros: a card multiplies those faster.
        a, b = (torch.randn(size, size, device=context.device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        found[name] = 2 * size**3 / fastest(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), context)
    source = torch.randn(copied // 4, device=context.device)
    target = torch.empty_like(source)
    found["bytes"] = 2 * copied / fastest(lambda: target.copy_(source), context)
    (context.folder / FILE).write_text(json.dumps(found), encoding="utf-8")
    bf16, fp32, moved = found["bf16"] / 1e12, found["fp32"] / 1e12, found["bytes"] / 1e9
    return {"says": f"bf16 {bf16:.3g} TFLOP/s, fp32 {fp32:.3g}, copies {moved:.3g} GB/s"} | found


def fastest(run: Any, context: Context, warm: int = 3, repeats: int = 8) -> float:
    """Seconds of the fastest of a few calls: the ceiling, not the usual."""
    for _ in range(warm):
        run()
    return min(clock(run, context.device) for _ in range(repeats))


def peak(context: Context, precision: str) -> float:
    """Operations per second of the best matrix product in this precision."""
    file = context.folder / FILE
    if not file.exists():
        measure(context)
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found["fp32" if precision == "fp32" else "bf16"]
