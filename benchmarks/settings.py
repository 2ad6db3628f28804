"""What a CPU process's own settings bring: `python -m benchmarks.settings dpo --data FILE --out settings.json`.

Each setting against the process as `train.py` starts it: two workers, step by step in turn, on the same examples.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import compare
from benchmarks.measure import WARM_UP, Bench, preparation
from benchmarks.processes import Worker


@dataclass(frozen=True)
class Setting:
    """Environment variables of a process, whether it keeps freed memory (`verbs/allocator.py`), and its threads."""

    variables: dict[str, str] = field(default_factory=dict)
    keep_freed_memory: bool = True
    threads: int | None = None


SETTINGS = {
    "glibc's allocator as it comes": Setting(keep_freed_memory=False),
    "small pages": Setting({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}),
    "huge pages": Setting({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "threads pinned to cores": Setting({"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}),
    "threads spin while they wait": Setting({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinite"}),
    "one thread": Setting(threads=1),
}


def against(bench: Bench, setting: Setting) -> dict[str, Any]:
    """Seconds of each timed step, with the setting and without, and the ratio of their medians with its spread."""
    steps = WARM_UP + bench.blocks
    seconds: dict[str, list[float]] = {"usual": [], "changed": []}
    with started(bench, Setting(), "usual", steps) as usual, started(bench, setting, "changed", steps) as changed:
        workers = {"usual": usual, "changed": changed}
        for worker in workers.values():
            preparation(worker, steps)
        for number in range(steps):
            for side in sorted(workers, reverse=number % 2 == 0):
                seconds[side].append(workers[side].go()["seconds"])
    timed = {side: values[WARM_UP:] for side, values in seconds.items()}
    pairs = [a / b for a, b in zip(timed["usual"], timed["changed"], strict=True)]
    speed = median(timed["usual"]) / median(timed["changed"])
    return {"speed": speed, "lowest": min(pairs), "highest": max(pairs), "seconds": timed}


def started(bench: Bench, setting: Setting, name: str, steps: int) -> Worker:
    """A worker of ours under a setting."""
    threads = setting.threads or bench.threads
    own = replace(bench, keep_freed_memory=setting.keep_freed_memory, threads=threads, scratch=bench.scratch / name)
    return own.worker(sys.executable, "benchmarks.workers.ours", "ours", steps, variables=setting.variables)


def main(argv: list[str] | None = None) -> int:
    found = compare.parser()
    found.prog, found.description = "python -m benchmarks.settings", __doc__
    found.add_argument("--try", action="append", choices=SETTINGS, dest="names", help="repeatable; all where left out")
    found.set_defaults(peer="none")
    args = found.parse_args(argv)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        bench = compare.build(args, Path(scratch))
        for name in args.names or SETTINGS:
            results[name] = result = against(bench, SETTINGS[name])
            print(f"{name}: {result['speed']:.2f} times as fast ({result['lowest']:.2f} to {result['highest']:.2f})")
            if args.out:
                content = {"stage": args.stage, "cores": os.cpu_count(), "threads": args.threads, "settings": results}
                args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
