"""check.sh: is it right on this card? At most four minutes."""

from __future__ import annotations

import sys

from benchmarks.gpu.parts import Part
from benchmarks.gpu.runner import main

CHECKS = "benchmarks.gpu.checks"
PARTS = [
    Part("tiny", f"{CHECKS}.training:tiny", 80),
    Part("logprobs", f"{CHECKS}.logprobs:compare", 50),
    Part("attention", f"{CHECKS}.attention:compare", 75),
    Part("sampling", f"{CHECKS}.sampling:compare", 30),
    Part("options", f"{CHECKS}.options:compare", 75),
    Part("gpt2", f"{CHECKS}.training:gpt2", 90),
    Part("resume", f"{CHECKS}.resume:compare", 80),
    Part("layouts", f"{CHECKS}.layouts:compare", 60),
    Part("memory", f"{CHECKS}.memory:compare", 45),
    Part("profile", f"{CHECKS}.profile:summary", 45),
]

if __name__ == "__main__":
    sys.exit(main("check", __doc__ or "", PARTS, deadline=240))
