"""What a scheduler's signals do where no training loop waits for its next step boundary: they end the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rlhf.errors import REQUEUE, Interrupted

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)
"""What clusters send some time before they kill."""


@contextmanager
def raising() -> Iterator[None]:
    """A context in which SIGTERM and SIGUSR1 raise `Interrupted`, as Ctrl-C raises `KeyboardInterrupt`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread alone.
        return
    before = {number: signal.signal(number, _raise) for number in PREEMPTING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(f"stopped by {signal.Signals(number).name}", REQUEUE)
