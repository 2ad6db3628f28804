"""How threads wait for each other. Without PyTorch: what is set here is read once, when its libraries are loaded."""

from __future__ import annotations

import os
import sys

CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which users choose themselves."""


def wait_asleep() -> None:
    """Let threads that wait sleep instead of spin: on a busy machine a thread would spin for as long as the one that it
    waits for is not scheduled, and take the core from others. It changes no number."""
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
