"""Files that are whole or absent, whatever interrupts the writer."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf.errors import TrainingError
from rlhf.storage.disk import reason_of


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context in which a file of a run is written.

    Raises:
        TrainingError: it could not be written, for example on a full disk.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path}: could not be written: {reason_of(error)}; fix it and run the same command with resume=true, "
            "which continues from the last checkpoint"
        ) from error


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename: a reader sees the old file or the new one."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """The same for any content. A link at `path` is replaced, and what it points to is left alone."""
    part = None
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            # A rename can reach the disk before the content does; after a power cut the file would be empty.
            os.fsync(stream.fileno())
        # mkstemp makes files for the owner alone; a summary is meant to be read by the whole team.
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except BaseException as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # of the write itself, the system names no file
        raise


def atomic_write_json(path: Path, value: Any) -> None:
    """Write JSON like `atomic_write_text`, indented, with readable non-ASCII text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates
        text = json.dumps(value, indent=2)
    atomic_write_text(path, text + "\n")


def json_line(value: Any) -> str:
    """One line of JSONL, non-ASCII kept readable; lone surrogates, which no UTF-8 can hold, are written as escapes."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(value)
    return line + "\n"


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
