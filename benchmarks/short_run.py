"""Where the time of a short run goes: a thread looks every 4 ms at what the main thread of `train.py` is doing.

    python -m benchmarks.short_run                      # tiny, SFT, one step, W&B offline
    python -m benchmarks.short_run logger=csv           # any KEY=VALUE of train.py

Processor seconds are those of the main thread. They hold on a busy machine too, where wall-clock time includes waiting
for other programs. Waiting for another process (W&B's service) appears in wall-clock time alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

EVERY = 0.004
"""Seconds between two looks. What holds the interpreter's lock for longer counts in full at the next look."""

LIBRARIES = ("torch", "torchmetrics", "lightning", "transformers", "wandb", "hydra", "omegaconf", "numpy", "pyarrow")
PHASES = {
    "wandb/": "W&B, beside its import",
    "verbs/train/build.py:build_tokenizer": "tokenizer",
    "verbs/train/build.py:read_rows": "data",
    "verbs/train/build.py:build_module": "building the model",
    "callbacks/samples.py": "samples of the evaluations",
    "lightning_modules/base.py:validation_step": "validation",
    "lightning_modules/base.py:training_step": "the training step",
    "callbacks/checkpoint.py": "checkpoints",
    "verbs/train/stage.py:write_export": "export",
    "verbs/train/": "the rest of training: Lightning's loop, callbacks",
    "launch/": "composition, run directory",
}
"""What a frame's file or function stands for; the first that is anywhere on the stack decides."""


def frames(frame: FrameType | None) -> Iterator[tuple[str, str | None]]:
    """Place of each frame from the innermost on, and the module that it imports, if that is what it does."""
    while frame is not None:
        code = frame.f_code
        imports = frame.f_locals.get("name") if code.co_name == "_find_and_load" else None
        yield f"{code.co_filename}:{code.co_name}", imports
        frame = frame.f_back


def part_of(frame: FrameType | None) -> str:
    """What the stack that ends at `frame` is doing."""
    places: list[str] = []
    imported: list[str] = []
    for place, name in frames(frame):
        places.append(place)
        if name is not None:
            imported.append(name)
    if any(name.startswith("torch._dynamo") for name in imported):
        return "import torch._dynamo"
    for name in imported:
        if (root := name.split(".")[0]) in LIBRARIES:
            return f"import {root}"
    if imported:
        return "import of the lab's own modules and small packages"
    return next((part for mark, part in PHASES.items() if any(mark in place for place in places)), "else")


def watch(main: int, spent: dict[str, list[float]], done: threading.Event) -> None:
    """Add up wall-clock and processor seconds of the main thread by part, until `done`."""
    clock = time.pthread_getcpuclockid(main)
    wall, cpu = time.perf_counter(), time.clock_gettime(clock)
    while not done.wait(EVERY):
        part = part_of(sys._current_frames().get(main))
        now, used = time.perf_counter(), time.clock_gettime(clock)
        spent[part][0] += now - wall
        spent[part][1] += used - cpu
        wall, cpu = now, used


def inside(out: Path, overrides: list[str]) -> None:
    """The run itself, watched from its first import on."""
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(threading.get_ident(), spent, done), daemon=True)
    watcher.start()
    sys.argv = ["train.py", *overrides]
    try:
        from launch.programs import train

        train()
    finally:
        done.set()
        watcher.join()
        out.write_text(json.dumps(spent))


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3:])
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "spent.json"
        run = ["train.max_steps=1", f"hydra.run.dir={folder}/run", *sys.argv[1:]]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmarks.short_run", "--inside", str(out), *run], check=True)
        total = time.perf_counter() - started
        spent: dict[str, tuple[float, float]] = json.loads(out.read_text())
    seen = sum(wall for wall, _ in spent.values())
    print("| part | wall-clock s | processor s |\n| --- | --- | --- |")
    for part, (wall, cpu) in sorted(spent.items(), key=lambda item: -item[1][1]):
        print(f"| {part} | {wall:.2f} | {cpu:.2f} |")
    print(f"| start and end of the process | {total - seen:.2f} | – |")
    print(f"| all | {total:.2f} | {sum(cpu for _, cpu in spent.values()):.2f} |")


if __name__ == "__main__":
    main()
