"""A verb in a process of its own: what it loads is gone when it ends, and its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rlhf.errors import Interrupted

PRELOADED = ["verbs.train.stage", "verbs.collect", "verbs.evaluate.evaluate"]
"""Imported once, in the server that all children are forked from: PyTorch and its kin take seconds to import."""


def perform(verb: str, overrides: list[str]) -> tuple[int, Path | None]:
    """Run `rlhf-lab VERB OVERRIDES…` in a child; returns its exit code and the directory of its run.

    Ctrl-C reaches the child by itself, a scheduler's signal is passed on; the child stops in order, and this waits.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(verb, overrides, theirs))
    child.start()
    theirs.close()
    directory: Path | None = None
    while child.is_alive():
        try:
            if ours.poll(0.2):
                directory = ours.recv()
                child.join()
        except EOFError:
            child.join()
        except KeyboardInterrupt:
            continue
        except Interrupted:
            child.terminate()
    code = child.exitcode or 0
    # A child that a signal ended has a negative code; shells add it to 128.
    return (128 - code if code < 0 else code), directory


def _work(verb: str, overrides: list[str], answer: Connection) -> None:
    """In the child: what the command does, from its name on."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from launch.programs import PROGRAMS

    sys.argv = [verb, *overrides]
    program = PROGRAMS[verb]
    code = program.main(overrides)
    answer.send(program.directory if code == 0 else None)
    sys.stdout.flush()
    sys.exit(code)


def _die_with_parent() -> None:
    """A pipeline that was killed leaves no stage behind that would keep its directory locked."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
