"""Checkpoint files: whole or absent, checked before they are trusted."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

PATTERN = "step-*.ckpt"


def checkpoints(directory: Path) -> list[Path]:
    """A run's checkpoints, oldest first."""
    return sorted((directory / "checkpoints").glob(PATTERN))


def checkpoint_path(directory: Path, step: int) -> Path:
    """Where the state after step number `step` is kept."""
    return directory / "checkpoints" / f"step-{step:08d}.ckpt"


def step_of(path: Path) -> int:
    """Inverse of `checkpoint_path`."""
    return int(path.stem.removeprefix("step-"))


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write under a temporary name, make sure that it reached the disk, then rename: a kill costs nothing.

    Raises:
        OSError, RuntimeError: the disk is full, say; nothing is left behind.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
        _sync_directory(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that was written, its tensors mapped from the file: processes of one machine share them."""
    import torch

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint's bytes, `None` if nothing is: every part is read and its checksum compared."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return str(error) or type(error).__name__
    return None if broken is None else f"the checksum of {broken} is wrong"


def newest_whole(directory: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest checkpoint that can be read, and what is wrong with each newer one.

    Processes of one run look at the same files, and so come to the same answer without talking to each other.
    """
    broken: dict[Path, str] = {}
    for path in reversed(checkpoints(directory)):
        fault = fault_of(path)
        if fault is None:
            return path, broken
        broken[path] = fault
    return None, broken


def prune(directory: Path, newest: int, every: int | None = None, best: int | None = None) -> None:
    """Delete all but the newest ones, those of every `every` steps, and that of step `best`."""
    for path in checkpoints(directory)[:-newest]:
        step = step_of(path)
        if step != best and (every is None or step % every):
            path.unlink()


def set_aside(directory: Path, after: int) -> None:
    """Rename checkpoints of later steps than `after`, which can't be read: those steps will be made again.

    What a killed writer left half done is deleted.
    """
    for part in (directory / "checkpoints").glob("step-*.part"):
        part.unlink()
    for path in checkpoints(directory):
        if step_of(path) > after:
            path.rename(path.with_suffix(".broken"))


def _sync_directory(directory: Path) -> None:
    """A rename is safe from a power cut only once the directory is on the disk too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
