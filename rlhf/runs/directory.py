"""Run directories: opened under a lock, and closed with a status."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from rlhf.errors import ConfigError, Interrupted, LostProcess, ParentError, UserError, WaitsForPeople
from rlhf.runs.identity import differing_keys
from rlhf.runs.listing import read_config
from rlhf.runs.lock import FILE as LOCK_FILE
from rlhf.runs.lock import Lock
from rlhf.runs.parents import Parent
from rlhf.runs.summary import Summary, now, versions
from rlhf.storage.disk import reason_of
from rlhf.storage.inside import check_inside

LONGEST = 200
"""Characters of a path that a sentence shows."""

BLOCK = 4096
"""Bytes that file systems give out at a time."""


class State(Enum):
    """What a directory holds for a run that wants it."""

    NEW = "new"
    RESUMABLE = "resumable"
    FINISHED = "finished"


@dataclass
class Run:
    """An open run directory. As a context manager it ends `finished`, `failed`, `interrupted` or `waiting` (for
    people), and drops the lock.

    Attributes:
        dir: absolute path.
        id: eight hex digits of the experiment.
        resumed: whether there is something to continue from (perhaps not yet a checkpoint).
        parents: what `model.init` and `algo.reward_model` resolved to, by those names.
        summary: change its fields, then call `save`.
        is_main: False in the child processes of a parallel run, which write nothing here.
    """

    dir: Path
    id: str
    resumed: bool = False
    parents: dict[str, Parent] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)
    is_main: bool = True
    _lock: Lock | None = field(default=None, repr=False)
    _wall_before: float = 0.0
    _opened: float = field(default_factory=lambda: time.monotonic())

    @property
    def model(self) -> Path:
        """The export."""
        return self.dir / "model"

    @property
    def checkpoints(self) -> Path:
        """Everything needed to continue."""
        return self.dir / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One row a logged step."""
        return self.dir / "metrics.csv"

    @property
    def samples(self) -> Path:
        """What the policy wrote at every evaluation."""
        return self.dir / "samples.jsonl"

    def save(self, **changes: Any) -> None:
        """Set fields of the summary and write it, with the time spent so far. Does nothing in child processes."""
        for name, value in changes.items():
            if not hasattr(self.summary, name):
                raise AttributeError(f"a summary has no field {name!r}")
            setattr(self.summary, name, value)
        if self.is_main:
            self.summary.wall_seconds = round(self._wall_before + time.monotonic() - self._opened, 3)
            self.summary.write(self.dir)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        told = isinstance(error, (UserError, LostProcess))
        text = None if error is None else str(error) if told else f"{type(error).__name__}: {error}"
        try:
            if error is None:
                self.save(status="finished", finished_at=now(), error=None)
            elif isinstance(error, (KeyboardInterrupt, Interrupted)):
                self.save(status="interrupted")
            else:
                self.save(status="waiting" if isinstance(error, WaitsForPeople) else "failed", error=text)
        except OSError:
            # A full disk is often why the run failed; the first error is the one to report.
            if not self.summary.overwrite(self.dir) and error is None:
                raise
        finally:
            if self._lock is not None:
                self._lock.release()


def inspect(directory: Path, run_id: str, resume: bool, config: Mapping[str, Any] | None = None) -> State:
    """Whether a run may use a directory, without touching it.

    Args:
        config: this run's configuration as plain dictionaries, to tell what differs from the one that is there.

    Raises:
        ConfigError: it is not empty and `resume` is false, or it holds another experiment or something else.
    """
    try:
        check_inside(directory)
        entries = _content(directory)
    except (OSError, ValueError) as error:
        shown = f"{str(directory)[:LONGEST]}{'…' if len(str(directory)) > LONGEST else ''}"
        raise ConfigError(
            f"hydra.run.dir: {shown} can't be read: {error.args[-1]}; choose another directory"
        ) from error
    if not entries or _came_to_nothing(directory):
        return State.NEW
    if not resume:
        raise ConfigError(
            f"hydra.run.dir: {directory} is not empty; pass resume=true to continue there, or choose another directory"
        )
    try:
        summary = Summary.read(directory)
    except ParentError as error:
        raise ConfigError(f"hydra.run.dir: there is nothing to resume in {error}") from error
    if summary.id != run_id:
        raise ConfigError(
            f"hydra.run.dir: {directory} holds another experiment ({_difference(directory, config)}); "
            "pass the configuration that it was started with, or choose another directory"
        )
    return State.FINISHED if summary.status == "finished" else State.RESUMABLE


def _came_to_nothing(directory: Path) -> bool:
    """Whether a run failed here before its first step, on a bad line of its data, say: once that is fixed, the same
    command should do, although fixed data make another experiment."""
    try:
        summary = Summary.read(directory)
    except ParentError:
        return False
    return summary.status == "failed" and summary.steps == 0 and not (directory / "metrics.csv").exists()


def _difference(directory: Path, config: Mapping[str, Any] | None) -> str:
    there = read_config(directory)
    differing = differing_keys(config, there) if config is not None and there else []
    if not differing:
        return "its data, or the weights it started from, are others"
    more = ", …" if len(differing) > 3 else ""
    return f"{', '.join(differing[:3])}{more} differ{'s' if len(differing) == 1 else ''}"


def _content(directory: Path) -> list[str]:
    """Names in a directory, but for the lock and for logs, which are opened before a run gets that far."""
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise ConfigError(f"hydra.run.dir: {directory} is a file; choose a directory")
    return [entry.name for entry in directory.iterdir() if entry.name != LOCK_FILE and entry.suffix != ".log"]


def make_directory(directory: Path, key: str = "hydra.run.dir") -> None:
    """Make sure that a directory is there and that files can be made in it, before work is done that would be lost.

    Raises:
        ConfigError: it can't be made or written: its name is too long, the disk is full or read-only, say.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(BLOCK))  # a full disk may have room for a name and for nothing in it
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{key}: {directory} is a file, or lies below one; choose a directory") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        shown = str(directory) if len(str(directory)) < LONGEST else f"{str(directory)[:LONGEST]}…"
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{key}: {shown} can't be written: {reason}; choose another directory") from error


def open_run(
    directory: Path,
    run_id: str,
    resume: bool,
    *,
    facts: Mapping[str, Any] | None = None,
    parents: Mapping[str, Parent] | None = None,
) -> Run:
    """Take the lock of a directory, made if need be, and write `summary.json` with status `running`.

    Args:
        facts: fields of the summary, such as `algo`, `model`, `data`, `seed`, `overrides`.
        parents: what `model.init` and `algo.reward_model` resolved to.

    Raises:
        ConfigError: as `inspect`, or the run is finished, or another process is in the directory.
    """
    directory = directory.absolute()
    make_directory(directory)
    try:
        check_inside(directory)  # the lock is a file of it too
        lock = Lock(directory)
    except OSError as error:
        raise ConfigError(f"hydra.run.dir: {directory} can't be written: {error.strerror}") from error
    try:
        # Only now, since what another process was writing a moment ago may have changed the answer.
        state = inspect(directory, run_id, resume)
        if state is State.FINISHED:
            raise ConfigError(f"hydra.run.dir: {directory} is finished; there is nothing to resume")
        resumed = state is State.RESUMABLE
        old = Summary.read(directory) if resumed else Summary()
        run = Run(directory, run_id, resumed, dict(parents or {}), old, _lock=lock, _wall_before=old.wall_seconds)
        records = {name: parent.record() for name, parent in run.parents.items()}
        run.save(
            status="running",
            id=run_id,
            parents=records,
            versions=versions(),
            error=None,
            **(facts or {}),
        )
    except BaseException:
        lock.release()
        raise
    return run
