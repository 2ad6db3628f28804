"""What a data file's name says: what it holds, and what it is packed in; and its bytes, unpacked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rlhf.errors import DataError

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
TABLES = (".parquet", ".arrow")
PACKED = (".gz", ".bz2", ".xz", ".zst")
ZIP = ".zip"
SUFFIXES = (*KINDS, ZIP)
READABLE = f"{', '.join(SUFFIXES)} (text also as {', '.join(PACKED)})"
"""For messages."""
BROKEN = (gzip.BadGzipFile, zlib.error, EOFError, lzma.LZMAError, zipfile.BadZipFile, UnicodeDecodeError)
"""What damaged archives raise; UnicodeDecodeError comes from the names of their members."""
LONGEST = 64 * 2**20
"""Bytes of a record, unpacked: a file of some KiB can unpack to a record that fills the memory."""


@dataclass(frozen=True)
class Source:
    """One stream of records.

    Attributes:
        place: the file, or `archive/member`.
        kind: one of `KINDS`.
        open: its bytes, unpacked.
        packed: the file's own size says nothing of how much comes out.
    """

    place: str
    kind: str
    open: Callable[[], IO[bytes]]
    packed: bool = False


def too_long() -> str:
    """The error message for a record above the limit."""
    return f"longer than {LONGEST >> 20} MiB, the most that a record may have"


def kind_of(name: str) -> str | None:
    """One of `SUFFIXES`, whatever the case and whatever it is packed in; `None` for what is not read."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    packed = bool(suffixes) and suffixes[-1] in PACKED
    kind = (suffixes[-2:-1] if packed else suffixes[-1:])[0:1]
    if not kind or kind[0] not in SUFFIXES or (packed and kind[0] in (*TABLES, ZIP)):
        return None
    return kind[0]


def sources(path: Path) -> Iterator[Source]:
    """The file itself, or what a zip archive holds, by name.

    Raises:
        DataError: the archive can't be read, or holds no data file.
    """
    kind = kind_of(path.name)
    assert kind is not None
    if kind != ZIP:
        packed = path.suffix.lower() in PACKED
        yield Source(str(path), kind, lambda: _unpacked(path.name, path.open("rb")), packed)
        return
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for info in archive.infolist() if (name := info.filename) and not name.endswith("/"))
        found = [name for name in names if (kind_of(name) or ZIP) != ZIP and not is_hidden(PurePosixPath(name))]
        if not found:
            raise DataError(f"{path}: no data files in this archive; it may hold {', '.join(KINDS)}")
        for name in found:
            opener = partial(_member, archive, name)
            yield Source(f"{path}/{name}", str(kind_of(name)), opener, packed=True)


def is_hidden(path: PurePosixPath) -> bool:
    """Whether a file or a folder on the way to it is hidden, or what macOS adds to archives."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A context in which whatever is wrong with a file as a whole becomes one sentence.

    Raises:
        DataError: it is damaged, or can't be read.
    """
    try:
        yield
    except (*BROKEN, RuntimeError) as error:  # RuntimeError: a password is needed
        suffix = path.suffix.lower().removeprefix(".")
        kind = {"gz": "gzip"}.get(suffix, suffix)
        raise DataError(f"{path}: not a complete {kind} file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from error


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return _unpacked(name, archive.open(name))


def _unpacked(name: str, stream: IO[bytes]) -> IO[bytes]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zst":
        return _zstandard(stream)
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix)
    return opener(stream) if opener is not None else stream


def _zstandard(stream: IO[bytes]) -> IO[bytes]:
    """Through pyarrow, since Python has no Zstandard before 3.14."""
    import io

    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(stream, "zstd"))
