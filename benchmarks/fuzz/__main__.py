"""Feeds random inputs to one target or all, and prints what went wrong: `python -m benchmarks.fuzz --inputs 100000`.

An input is a fault where something else than the lab's own errors comes out, or where it takes longer than `SLOW`
seconds. Input number n of a seed is the same on every machine: `--start n --inputs 1` repeats it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from random import Random

from benchmarks.fuzz import judges, overrides, readers, saved, templates

TARGETS = {
    "saved": saved.one,
    "templates": templates.one,
    "judges": judges.one,
    "overrides": overrides.one,
    "readers": readers.one,
}
SLOW = 10.0
"""Seconds by the clock: asking for processor time can cost more than an input does."""


def run(target: str, inputs: int, seed: int = 0, start: int = 0) -> tuple[Counter[str], list[str]]:
    """Outcomes by name with their number, and a description of each different fault."""
    outcomes: Counter[str] = Counter()
    faults: dict[str, str] = {}
    for number in range(start, start + inputs):
        began = time.monotonic()
        try:
            outcomes[TARGETS[target](Random(f"{target} {seed} {number}"))] += 1
        except Exception as error:
            outcomes["fault"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {last.filename}:{last.lineno}"
            faults.setdefault(place, f"input {number}: {place}: {str(error)[:300]}")
        if (took := time.monotonic() - began) > SLOW:
            outcomes["slow"] += 1
            faults.setdefault("slow", f"input {number}: {took:.1f} s")
    return outcomes, list(faults.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", choices=sorted(TARGETS), help="all, one after the other, where none is given")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input (default: %(default)s)")
    given = parser.parse_args()
    logging.disable()  # what is left out is said each time
    failed = False
    for target in [given.target] if given.target else sorted(TARGETS):
        began = time.monotonic()
        outcomes, faults = run(target, given.inputs, given.seed, given.start)
        said = ", ".join(f"{n:,} {name}" for name, n in sorted(outcomes.items()))
        print(f"{target}: {said} in {time.monotonic() - began:.0f} s", flush=True)
        for fault in faults:
            print(f"  {fault}", flush=True)
        failed = failed or bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
