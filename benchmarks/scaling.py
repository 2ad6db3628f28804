"""How the cost of a step grows with batch, length and model size: `python -m benchmarks.scaling dpo --out FILE`.

Examples are random ids of exactly the lengths given, so that nothing but the one size changes. `benchmarks.plots` draws
the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import WARM_UP, Bench, measure, prepared

PROMPT, RESPONSES = 124, (41, 51)
"""Tokens of a comparison in HH-RLHF's harmless part, on average."""
LENGTHS = (64, 128, 256, 512, 1024)
"""Tokens of prompt and longer response together; the shares stay as they are on average."""
BATCHES = (1, 2, 4, 8, 16, 32)
MODELS = {
    "4 × 256": {"n_layer": 4, "n_embd": 256, "n_head": 4},
    "8 × 512": {"n_layer": 8, "n_embd": 512, "n_head": 8},
    "12 × 768": {},
    "24 × 1024": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
}
"""Layers × width, in GPT-2's architecture; 12 × 768 is GPT-2, 24 × 1024 is GPT-2 medium."""


def lengths(stage: str, longest: int | None = None) -> list[int]:
    """Prompt and responses of an example whose longest path has `longest` tokens."""
    scale = 1.0 if longest is None else longest / (PROMPT + max(RESPONSES))
    prompt, *responses = (max(1, round(scale * size)) for size in (PROMPT, *RESPONSES))
    return [prompt, *{"sft": responses[:1], "ppo": []}.get(stage, responses)]


def points(stage: str, batch: int, size: dict[str, int], sweeps: list[str]) -> list[dict[str, Any]]:
    """What to measure: one size after another, the others as they are in a usual step."""
    usual: dict[str, Any] = {"batch": batch, "lengths": lengths(stage), "sizes": size}
    found: list[dict[str, Any]] = []
    if "batch" in sweeps:
        found += [usual | {"sweep": "batch", "x": n, "batch": n} for n in BATCHES]
    if "length" in sweeps:
        found += [usual | {"sweep": "length", "x": n, "lengths": lengths(stage, n)} for n in LENGTHS]
    if "model" in sweeps:
        found += [usual | {"sweep": "model", "x": name, "sizes": sizes} for name, sizes in MODELS.items()]
    return found


def measured(point: dict[str, Any], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    request = {
        "stage": args.stage,
        "model": "gpt2",
        "sizes": point["sizes"],
        "seed": 1,
        "count": point["batch"] * (WARM_UP + args.blocks),
        "data": None,
        "lengths": point["lengths"],
    }
    options = {
        "lr": 1e-5,
        "max_length": 1024,
        "new_tokens": max(RESPONSES),
        "critic": "separate",
        "epochs": 4,
        "tokens_per_microbatch": args.tokens_per_microbatch,
    }
    bench = Bench(
        args.stage,
        prepared(request, folder / "shared"),
        options,
        point["batch"],
        args.blocks,
        args.threads,
        folder,
        peak_size=args.peak_size,
        say=lambda _: None,
    )
    return point | measure(bench).record() | {"weights": bench.task["shape"]["weights"]}


def main(argv: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    found.add_argument("stage", choices=["sft", "reward", "dpo", "ppo"])
    found.add_argument("--sweep", action="append", choices=["batch", "length", "model"], help="all where left out")
    found.add_argument("--batch", type=int, default=8, help="examples a step, where the batch is not what changes")
    found.add_argument("--size", action="append", default=[], metavar="KEY=N", help="replaces a size of GPT-2's")
    found.add_argument("--blocks", type=int, default=3, help="timed steps of each point")
    found.add_argument("--tokens-per-microbatch", type=int, default=4096, help="as train.tokens_per_microbatch")
    found.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument("--peak-size", type=int, default=4096, help="of the matrices that show the machine's peak")
    found.add_argument("--out", type=Path, required=True, help="JSON file, rewritten after every point")
    args = found.parse_args(argv)
    size = {name: int(value) for name, value in (item.split("=") for item in args.size)}
    results: list[dict[str, Any]] = []
    for point in points(args.stage, args.batch, size, args.sweep or ["batch", "length", "model"]):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            results.append(measured(point, args, Path(folder)))
        seconds, memory = 1 / results[-1]["examples_per_second"]["ours"], results[-1]["ours"]["memory"]
        print(f"{point['sweep']} {point['x']}: {seconds:.3g} s an example, {memory / 1e9:.2f} GB", file=sys.stderr)
        args.out.write_text(json.dumps({"stage": args.stage, "points": results}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
