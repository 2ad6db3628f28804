"""Verbs in processes of their own: what one loads is gone when it ends, and its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from rlhf.errors import REQUEUE, Interrupted

PRELOADED = ["verbs.train.stage", "verbs.collect", "verbs.evaluate.evaluate", "verbs.merge"]
"""Imported once, in the server that all children are forked from: PyTorch and its kin take seconds to import."""


@dataclass(frozen=True)
class Ending:
    """Exit code of a verb that was started as `name`, and the directory of its run where it came as far as that."""

    name: str
    code: int
    directory: Path | None


@dataclass
class _Child:
    process: ForkServerProcess
    answer: Connection
    reader: threading.Thread | None


class Children:
    """Runs verbs, one or several at a time.

    Ctrl-C reaches children directly, a scheduler's signal is passed on; they stop in order, and this waits for them.
    """

    def __init__(self) -> None:
        self._running: dict[str, _Child] = {}
        self._stopped = 0
        """The exit code of a stopped child, after all were asked once: a second signal would stop them at once."""

    def start(self, name: str, verb: str, overrides: list[str], beside: bool = False) -> None:
        """Start `rlhf-lab VERB OVERRIDES…`.

        Args:
            beside: others run meanwhile: what it prints comes as lines, after its name, in place of bars.

        Raises:
            Interrupted: all were asked to stop, and the last one was just done.
        """
        if self._stopped:
            raise Interrupted(f"stage {name} was not started", self._stopped)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        answer, theirs = context.Pipe(duplex=False)
        lines, console = context.Pipe(duplex=False) if beside else (None, None)
        process = context.Process(target=_work, args=(verb, overrides, theirs, console))
        process.start()
        theirs.close()
        reader = None
        if lines is not None and console is not None:
            console.close()
            reader = threading.Thread(target=_label, args=(name, lines), daemon=True)
            reader.start()
        self._running[name] = _Child(process, answer, reader)

    def next(self) -> Ending:
        """The next one that ends."""
        while True:
            try:
                wait([child.process.sentinel for child in self._running.values()], timeout=0.2)
                for name, child in self._running.items():
                    if not child.process.is_alive():
                        return self._end(name, child)
            except KeyboardInterrupt:
                self._stopped = 130
            except Interrupted:
                self._terminate()

    def stop(self) -> None:
        """Have all that are running stop in order, as a scheduler's signal does; returns when they have."""
        if not self._stopped:
            self._terminate()
        while self._running:
            self.next()

    def _terminate(self) -> None:
        self._stopped = REQUEUE
        for child in self._running.values():
            child.process.terminate()

    def _end(self, name: str, child: _Child) -> Ending:
        child.process.join()
        code = child.process.exitcode or 0
        try:
            directory = child.answer.recv() if child.answer.poll() else None
        except EOFError:
            directory = None
        if child.reader is not None:
            child.reader.join(timeout=5)
        del self._running[name]
        # A child that a signal ended has a negative code; shells add it to 128.
        return Ending(name, 128 - code if code < 0 else code, directory)


def _label(name: str, lines: Connection) -> None:
    """Print what a child prints, line by line, after its name."""
    with os.fdopen(os.dup(lines.fileno()), encoding=sys.stdout.encoding, errors="replace", newline="\n") as stream:
        lines.close()
        for line in stream:
            print(f"{name:<8}│ {line.rstrip()}", flush=True)


def _work(verb: str, overrides: list[str], answer: Connection, console: Connection | None) -> None:
    """In the child: what the command does, from its name on."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if console is not None:
        for number in (1, 2):
            os.dup2(console.fileno(), number)
        console.close()
    from launch.programs import PROGRAMS

    sys.argv = [verb, *overrides]
    program = PROGRAMS[verb]
    code = program.main(overrides)
    answer.send(program.directory)
    sys.stdout.flush()
    sys.exit(code)


def _die_with_parent() -> None:
    """A pipeline that was killed leaves no stage behind that would keep its directory locked."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
