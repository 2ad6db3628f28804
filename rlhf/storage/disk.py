"""Writing to a disk: why it could not be done, in words, and making sure that it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports an error",
}


def disk_fault(error: BaseException | None) -> str | None:
    """Why a file could not be written, where the disk is the reason; `None` where it is not.

    Libraries wrap a full disk in errors of their own, and a second error while they clean up hides the first one.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in REASONS:
            return REASONS[error.errno]
        if found := next((r for n, r in REASONS.items() if os.strerror(n) in str(error)), None):
            return found
        error = error.__cause__ or error.__context__
    return None


def reason_of(error: OSError) -> str:
    """The same for any error of the file system, without the path."""
    return disk_fault(error) or error.strerror or str(error)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a new or renamed file is safe from a power cut only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
