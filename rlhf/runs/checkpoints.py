"""Checkpoint files: whole or absent, checked before they are trusted."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

from rlhf.errors import first_line
from rlhf.storage.disk import sync_folder
from rlhf.storage.inside import no_links
from rlhf.storage.reading import open_regular

NAME = re.compile(r"step-[0-9]{8,12}\.ckpt")


def checkpoints(directory: Path) -> list[Path]:
    """A run's checkpoints, oldest first: files that are named as this program names them."""
    return sorted(
        (path for path in (directory / "checkpoints").glob("*.ckpt") if NAME.fullmatch(path.name) and path.is_file()),
        key=step_of,
    )


def other_names(directory: Path) -> list[Path]:
    """What looks like a checkpoint and is not named as one."""
    return sorted(path for path in (directory / "checkpoints").glob("*.ckpt") if not NAME.fullmatch(path.name))


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
        part.unlink(missing_ok=True)
        with open(part, "xb", opener=no_links) as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that was written, its tensors mapped from the file: processes of one machine share them."""
    import torch

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def fault_of(path: Path) -> str | None:
    """What is wrong with a checkpoint, `None` if nothing is: every part is read and its checksum compared, and the
    state in it must be that of the step in its name."""
    try:
        with open_regular(path, follow=False) as stream, zipfile.ZipFile(stream) as archive:
            # PyTorch compresses nothing; what is compressed may hold a thousand times its size.
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "its parts are compressed"
            if (broken := archive.testzip()) is not None:
                return f"the checksum of {broken} is wrong"
        state = read_checkpoint(path)
    except Exception as error:  # zipfile, pickle and PyTorch raise all kinds at bytes that are none
        return first_line(error)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int) or step != step_of(path):
        return f"it holds the state of step {str(step)[:20]}"
    return None


def newest_whole(directory: Path, limit: int | None = None) -> tuple[Path | None, dict[Path, str]]:
    """The newest checkpoint that can be read, and what is wrong with each newer one.

    Args:
        limit: the last step of the run; what claims to come after it is none of its checkpoints.

    Processes of one run look at the same files, and so come to the same answer without talking to each other.
    """
    broken: dict[Path, str] = {}
    for path in reversed(checkpoints(directory)):
        beyond = limit is not None and step_of(path) > limit
        fault = f"the run ends at step {limit}" if beyond else fault_of(path)
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
