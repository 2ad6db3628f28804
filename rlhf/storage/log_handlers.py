"""Handlers of log entries that can't be written: a log never ends a run, nor fills the terminal with tracebacks."""

from __future__ import annotations

import logging
import sys

from rlhf.storage.disk import reason_of


class Terminal(logging.StreamHandler):
    """A stream whose reader may have left (`| head`), or whose file may lie on a full disk (`> file`)."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once on stderr that entries are lost; not beside an error, which the program itself reports."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not (self.told or isinstance(error, BrokenPipeError) or record.levelno >= logging.ERROR):
            self.told = True
            print(f"{self.place}: could not be written: {reason_of(error)}; log entries are lost", file=sys.stderr)

    @property
    def place(self) -> str:
        """What is written to, in words."""
        return str(getattr(self.stream, "name", "the terminal"))


class LogFile(logging.FileHandler, Terminal):
    """The same for a file."""

    @property
    def place(self) -> str:
        """The path of the file."""
        return self.baseFilename
