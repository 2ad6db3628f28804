"""Writing into a folder from an untrusted source, without ever writing outside of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rlhf.errors import ConfigError
from rlhf.storage.reading import kind_of

WANDB = "wandb"
"""Folder of a run in which links are normal: W&B points to its newest run by them."""
CORE_LOG = ["logs", "debug-core.log"]
"""Of each of its runs, a link to the log of W&B's service, which is in the user's cache folder."""
IN_PLACE = (".lock", "metrics.csv", "samples.jsonl")
"""Files that are written in place, besides logs; all others are replaced as a whole."""


def check_inside(directory: Path) -> None:
    """Check that whatever is written in a run or sweep directory stays there.

    A run directory can be copied, unpacked or shared, and a link in it would make this program write, or append what a
    prompt says, to any file of the user's. The directory itself may be reached by links.

    Raises:
        ConfigError: it holds a symbolic link, a FIFO, a socket or a device; a file that is written in place has a
            second name (hard link); W&B settings, which could send what is logged, and the key, to any server.
    """
    if not directory.is_dir():
        return
    root = os.path.realpath(directory)
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    pending.append(entry.path)
                elif fault := _fault(root, entry, facts):
                    shown = directory / os.path.relpath(entry.path, root)
                    raise ConfigError(f"hydra.run.dir: {shown} is {fault}; replace it by a copy, or remove it")


def _fault(root: str, entry: os.DirEntry[str], facts: os.stat_result) -> str | None:
    parts = os.path.relpath(entry.path, root).split(os.sep)
    if stat.S_ISLNK(facts.st_mode) and parts[0] == WANDB and len(parts) > 1:
        target = os.path.realpath(entry.path)
        own = target.startswith(root + os.sep) or (parts[2:] == CORE_LOG and _is_core_log(target))
        return None if own else "a link that leads out of the run"
    if kind := kind_of(facts.st_mode):
        return f"{kind}, which no run writes"
    if parts == [WANDB, "settings"]:
        return "a file of W&B settings that this run did not write"
    in_place = len(parts) == 1 and (parts[0] in IN_PLACE or parts[0].endswith(".log"))
    return "a file with a second name (hard link)" if in_place and facts.st_nlink > 1 else None


def _is_core_log(target: str) -> bool:
    """Whether a path is what W&B's service names its logs: whatever is appended there harms no file of the user's."""
    folder, name = os.path.split(target)
    return folder.split(os.sep)[-2:] == [WANDB, "logs"] and name.startswith("core-debug-") and name.endswith(".log")


def no_links(path: str, flags: int) -> int:
    """An `opener` for `open` that follows no link at the end of a path and waits for no reader of a FIFO.

    Raises:
        OSError: it is a link, or no regular file.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if kind := kind_of(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is {kind}, not a regular file")
    return handle
