"""check.sh: is it right on this card? At most four minutes."""

from __future__ import annotations

import sys

from benchmarks.gpu.parts import Part
from benchmarks.gpu.runner import main

CHECKS = "benchmarks.gpu.checks"
PARTS = [
    Part("tiny", f"{CHECKS}.training:tiny", 75),
    Part("logprobs", f"{CHECKS}.logprobs:compare", 40),
]

if __name__ == "__main__":
    sys.exit(main("check", __doc__ or "", PARTS, deadline=240))
