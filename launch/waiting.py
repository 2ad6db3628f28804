"""How threads wait for each other. Without PyTorch: what is set here is read once, when its libraries are loaded."""

from __future__ import annotations

import os
import sys

CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which users choose themselves."""
TURNS = "6000"
"""Of the loop in which libgomp waits: some 0.1 ms; as fast as its own 300,000 on a quiet machine."""
AT_ONCE = "0"
"""Sleep without a turn: on a quiet machine a tenth slower, beside one busy process half as fast again."""
BUSY = 0.7
"""Mean number of processes that ran in the last minute, from which on the machine counts as busy."""


def wait_briefly() -> None:
    """Let threads that wait spin for a moment and then sleep, and sleep at once where other programs are running.

    On a busy machine a thread would spin for as long as the one that it waits for is not scheduled, and take the core
    from it. It changes no number.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = AT_ONCE if _is_busy() else TURNS


def _is_busy() -> bool:
    try:
        return os.getloadavg()[0] >= BUSY
    except (OSError, AttributeError):  # not every system counts
        return False
