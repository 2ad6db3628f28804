"""Progress of what can last: a bar on a terminal, a line now and then elsewhere, and nothing below two seconds.

One way for all: loops that count, and work that can't be counted (loading, writing), from the library to the verbs.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET = 2.0
"""Seconds that anything may last without a word."""

EVERY = 30.0
"""Seconds between two lines, where the output is no terminal."""

FRAME = 0.2
"""Seconds between two looks at the counts, on a terminal."""

UNITS = {"GB": 1e9}
"""How many counts make one unit."""

enabled = True
"""Whether this process shows anything: processes that are not the first of their run don't, nor does a run whose user
wants none (`callbacks.progress`)."""


class ProgressBar:
    """`with ProgressBar("export"):`, or `with ProgressBar("reading", 100) as progress: … progress(done)`.

    A thread of its own draws, so that what lasts is seen before the first call, and while one piece of work lasts.

    Args:
        what: what is done, in a few words. total: how many there are; `None`: it can't be counted.
        unit: empty: counts; GB: bytes are given, gigabytes shown.

    Attributes:
        what, done, total: may be changed meanwhile.
        note: text after the counts.
    """

    def __init__(self, what: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        self.what, self.total, self.done, self.unit, self.note = what, total, done, unit, ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        """So many are done; of a total that may be known only now."""
        self.done = done
        if total is not None:
            self.total = total

    def __enter__(self) -> Self:
        self._began = self._told = time.monotonic()
        if enabled:
            self._thread = threading.Thread(target=self._show, name=f"progress of {self.what}", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        seconds = time.monotonic() - self._began
        if kind is None and seconds >= QUIET and not on_terminal():
            self.say(f"({seconds:.0f} s)")

    def say(self, ending: str = "") -> None:
        """Print a line now, where the output is no terminal."""
        if enabled and not on_terminal():
            self._told = time.monotonic()
            parts = (f"{self.what} {self.counts}".strip(), self.note, ending)
            print("  ".join(part for part in parts if part), flush=True)

    @property
    def counts(self) -> str:
        """How much is done, such as `3/10`, `1.2/4.0 GB`; empty where it can't be counted."""
        if self.total is None:
            return ""
        if not self.unit:
            return f"{self.done}/{self.total}"
        size = UNITS[self.unit]
        return f"{self.done / size:.1f}/{self.total / size:.1f} {self.unit}"

    def _show(self) -> None:
        if self._ended.wait(QUIET):
            return
        if on_terminal():
            task = _screen.add(self)
            while not self._ended.wait(FRAME):
                _screen.update(task, self)
            _screen.update(task, self)
            _screen.remove(task)
            return
        if self._told == self._began:  # otherwise a line was printed in the meantime
            self.say()
        while not self._ended.wait(EVERY - min(EVERY, time.monotonic() - self._told) + 0.01):
            if time.monotonic() - self._told >= EVERY:
                self.say()


def on_terminal() -> bool:
    """Whether bars can be drawn."""
    return sys.stderr.isatty()


class _Screen:
    """The one live display of this process: two would overwrite each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._live = 0

    def add(self, bar: ProgressBar) -> TaskID:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        with self._lock:
            if self._bars is None:
                self._bars = Progress(
                    TextColumn("[bold]{task.description}", markup=True),
                    BarColumn(bar_width=30),
                    TextColumn("{task.fields[counts]}", markup=False),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[note]}", markup=False),
                    console=Console(stderr=True),
                )
                self._bars.start()
            self._live += 1
            return self._bars.add_task("", total=bar.total, completed=bar.done, counts="", note="")

    def update(self, task: TaskID, bar: ProgressBar) -> None:
        if self._bars is not None:
            self._bars.update(
                task,
                description=bar.what.replace("[", r"\["),
                completed=bar.done,
                total=bar.total,
                counts=bar.counts,
                note=bar.note,
            )

    def remove(self, task: TaskID) -> None:
        """The last one stays to be read, as what was done; others make room."""
        with self._lock:
            self._live -= 1
            if self._bars is None:
                return
            if self._live:
                self._bars.remove_task(task)
            else:
                self._bars.stop()
                self._bars = None


_screen = _Screen()
