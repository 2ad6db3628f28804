"""Processes of one run that look after each other: where one dies, all end, and one of them says why.

Lightning's launcher alone kills the first process too, without a word; and where the first dies, the others wait
for it until a collective times out. What torchrun or srun started is theirs to look after.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from rlhf.errors import LostProcess, ParentError, UserError
from rlhf.runs import Run, Summary
from rlhf.runs.processes import is_launched

POLL = 0.5
"""Seconds between looks."""
GRACE = 10.0
"""Seconds that a process has to end with its own message before it is killed."""


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher, without the thread that kills the first process."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
            self._call_children_scripts()
        return function(*args, **kwargs)

    def lost(self) -> str | None:
        """The first child that ended with an error, as a sentence."""
        for number, child in enumerate(self.procs, 1):
            if code := child.poll():
                return f"process {number} of {self.num_processes} (pid {child.pid}) {_how(code)}"
        return None


@contextmanager
def watched(trainer: L.Trainer, run: Run) -> Iterator[None]:
    """Train within. If another process dies meanwhile, this one ends soon, and not by waiting for it.

    Raises:
        LostProcess: in the first process, another one of this machine died.
    """
    over = threading.Event()
    found = trainer.strategy.launcher
    if is_launched():
        threading.Thread(target=_follow_parent, args=(os.getppid(), run, over), daemon=True).start()
        try:
            yield
        except Exception:
            time.sleep(GRACE)  # If the first process has ended for the same reason, this one is ended here, silently.
            raise
        finally:
            over.set()
    elif isinstance(found, _SubprocessScriptLauncher):
        launcher = Launcher(found.cluster_environment, found.num_processes, found.num_nodes)
        trainer.strategy._launcher = launcher
        threading.Thread(target=_watch_children, args=(launcher, run, over), daemon=True).start()
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            # Most likely a collective whose other end is gone.
            if (lost := _wait_for_loss(launcher)) is not None:
                launcher.kill(signal.SIGKILL)
                raise LostProcess(_sentence(lost)) from error
            raise
        finally:
            over.set()
    else:
        yield


def _watch_children(launcher: Launcher, run: Run, over: threading.Event) -> None:
    """For collectives that never come back, as NCCL's: end this process from outside of its main thread."""
    while not over.wait(POLL):
        lost = launcher.lost()
        if lost is not None and not over.wait(GRACE):
            launcher.kill(signal.SIGKILL)
            run.save(status="failed", error=_sentence(lost))
            print(_sentence(lost), file=sys.stderr, flush=True)
            os._exit(1)


def _follow_parent(parent: int, run: Run, over: threading.Event) -> None:
    """End with the first process; say so if it could not."""
    while not over.wait(POLL):
        if os.getppid() != parent:
            if os.environ.get("LOCAL_RANK") == "1" and _status(run) == "running":
                print(_sentence("the first process of this run died"), file=sys.stderr, flush=True)
            os._exit(1)


def _wait_for_loss(launcher: Launcher) -> str | None:
    """A broken connection may be seen before the process that broke it is quite gone."""
    deadline = time.monotonic() + POLL * 4
    while (lost := launcher.lost()) is None and time.monotonic() < deadline:
        time.sleep(POLL / 5)
    return lost


def _status(run: Run) -> str:
    try:
        return Summary.read(run.dir).status
    except ParentError:
        return ""


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _sentence(what: str) -> str:
    return f"{what}, so all processes of this run stop; the same command with resume=true continues"
