"""A command in a process of its own, wherever this runs. Standard library alone: workers on other machines get this
file by value, and need nothing of the lab's but the Python that the command starts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, TypedDict

from rlhf.storage.reading import Unreadable, read_json

ENDING = "RLHF_ENDING"
"""Names the file in which the program says how it ended: JSON with `code`, `error` and `value`."""

LIFELINE = "RLHF_LIFELINE"
"""Names the file descriptor whose end the program takes for the death of its parent process."""

INTERRUPTED, REQUEUE = 130, 75
"""Exit codes of a run that stopped in order: on Ctrl-C; before its machine is taken away (EX_TEMPFAIL)."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Ending(TypedDict):
    """How a command ended.

    Attributes:
        code: exit code; negative: ended by that signal.
        error: what went wrong, or an empty string.
        value: what the program returned, as JSON carries it.
        seconds: that it ran.
    """

    code: int
    error: str
    value: Any
    seconds: float


class Runner:
    """Runs commands, several at the same time from several threads. After a signal it hands that on, waits for what
    is running to save itself, and starts nothing more.

    Attributes:
        stopped: the signal that asked to stop; 0 until then.
    """

    def __init__(self) -> None:
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopped = 0

    def __call__(self, command: Sequence[str], folder: str, variables: Mapping[str, str], console: str) -> Ending:
        """Run one command to its end.

        Args:
            command: as for `subprocess`.
            folder: working directory.
            variables: of the environment, beside those that are there.
            console: file to which what the command prints is appended.
        """
        if self.stopped:
            return stopped_by(self.stopped)
        started = time.monotonic()
        life, ours = os.pipe()
        try:
            with TemporaryDirectory() as private:
                ending = Path(private) / "ending.json"
                environment = os.environ | dict(variables) | {ENDING: str(ending), LIFELINE: str(life)}
                Path(console).parent.mkdir(parents=True, exist_ok=True)
                with open(console, "ab") as stream, _unblocked():
                    child = subprocess.Popen(
                        list(command),
                        cwd=folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=stream,
                        stderr=subprocess.STDOUT,
                        pass_fds=(life,),
                        # Else Ctrl-C would reach it twice, from the terminal and from here, and twice means at once.
                        start_new_session=True,
                    )
                code = self._wait(child)
                told = _read(ending)
        finally:
            os.close(life)
            os.close(ours)
        error, value = str(told.get("error") or ""), told.get("value")
        return {"code": code, "error": error, "value": value, "seconds": time.monotonic() - started}

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        self.children.add(child)
        try:
            if self.stopped:
                child.send_signal(self.stopped)
            while True:
                try:
                    # Not without a timeout: Ray cancels a task by a flag, which a wait in the kernel does not see.
                    return child.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    continue
                except KeyboardInterrupt:
                    # Where no handler could be set.
                    self.stop(signal.SIGINT)
        finally:
            self.children.discard(child)

    def stop(self, number: int) -> None:
        """Hand a signal on to all that is running."""
        self.stopped = number
        for child in list(self.children):
            child.send_signal(number)


@contextmanager
def noticing(handle: Callable[[int], Any]) -> Iterator[None]:
    """A context in which the signals that ask to stop are passed to `handle`, and do nothing else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        handle(number)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _unblocked() -> Iterator[None]:
    """What is started meanwhile can be told to stop: it inherits what is blocked, as SIGINT is in Ray's workers."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stopped_by(number: int) -> Ending:
    """The ending of a command that a signal kept from starting, or ended somewhere else."""
    code = INTERRUPTED if number == signal.SIGINT else REQUEUE
    return {"code": code, "error": "", "value": None, "seconds": 0.0}


def _read(path: Path) -> dict[str, Any]:
    """What the program said of its end; nothing, if it didn't get to it."""
    try:
        content = read_json(path)
    except (OSError, Unreadable):
        return {}
    return content if isinstance(content, dict) else {}


def run(command: Sequence[str], folder: str, variables: Mapping[str, str], console: str) -> Ending:
    """Run one command with a `Runner` of its own."""
    runner = Runner()
    with noticing(runner.stop):
        return runner(command, folder, variables, console)


class Requeued:
    """The same as a task of submitit, which is queued again when its time is up, and then continues."""

    def __init__(self, command: Sequence[str], folder: str, variables: Mapping[str, str], console: str) -> None:
        self.command, self.rest = list(command), (folder, dict(variables), console)
        self.runner = Runner()

    def __call__(self) -> Ending:
        # A scheduler that takes a machine away starts the same job again automatically.
        again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        return self.runner([*self.command, *(["resume=true"] if again else [])], *self.rest)

    def checkpoint(self) -> Any:
        """What submitit calls within a signal's handler: let the run save itself, and submit its continuation."""
        import submitit

        self.runner.stop(signal.SIGUSR1)
        for child in list(self.runner.children):
            # Not `wait`, whose lock the call that this handler interrupted may hold.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Requeued([*self.command, "resume=true"], *self.rest))
