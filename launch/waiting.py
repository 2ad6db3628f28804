"""How threads wait for each other. Without PyTorch: what is set here is read once, when its libraries are loaded."""

from __future__ import annotations

import os
import sys

CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which users choose themselves."""
TURNS = "6000"
"""Of the loop in which libgomp waits: some 0.1 ms; as fast as its own 300,000 on a quiet machine."""


def wait_briefly() -> None:
    """Let threads that wait spin for a moment and then sleep. On a busy machine a thread would spin for as long as the
    one that it waits for is not scheduled, and take the core from it. It changes no number."""
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = TURNS
