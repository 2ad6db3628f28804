"""Work in a thread beside the training, one piece at a time; what goes wrong there is raised here."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Runs one piece of work at a time. The thread is no daemon: a program that ends normally lets it finish."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin, after the piece before has ended.

        Raises:
            Exception: what that one ended with.
        """
        self.join()
        self._thread = threading.Thread(target=self._run, args=(work,), name="background")
        self._thread.start()

    def join(self) -> None:
        """Wait for the piece that is under way.

        Raises:
            Exception: what it ended with.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what went wrong, without waiting; once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
