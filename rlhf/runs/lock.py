"""One process at a time in a run directory. The kernel drops the lock with the process, so a crash leaves none."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from rlhf.errors import ConfigError
from rlhf.storage.inside import no_links

FILE = ".lock"


class Lock:
    """Holds a run directory until `release`, or until the process ends.

    Raises:
        ConfigError: another run holds it; the message names its process.
    """

    def __init__(self, directory: Path) -> None:
        self._stream: IO[str] | None = open(directory / FILE, "a+", encoding="utf-8", opener=no_links)  # noqa: SIM115
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.seek(0)
            owner = self._stream.read().strip() or "another process"
            self._stream.close()
            raise ConfigError(
                f"hydra.run.dir: {directory} is in use by {owner}; wait for it, or choose another directory"
            ) from None
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._stream.flush()

    def release(self) -> None:
        """Let others in; harmless when repeated."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
