"""Raw values out of data files, each with the place it stands at, so that a reader's complaint can name `file:line`."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.errors import DataError, first_line

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".txt")


class BadRecord(Exception):
    """One record can't be used. `reason` is a short name to count by, the message says what is wrong.

    `where` is the place within a line that holds several records.
    """

    def __init__(self, reason: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.reason, self.where = reason, where


@dataclass(frozen=True)
class Raw:
    """What stands at `place` (`file:line`; in parquet files the row, from 1): a value, or why there is none."""

    place: str
    value: Any = None
    error: BadRecord | None = None


def data_files(path: Path) -> tuple[Path, ...]:
    """The file itself, or all data files of a folder and its folders, sorted; hidden ones are left out.

    Raises:
        DataError: nothing there, an unknown type of file, or a folder without data files.
    """
    if path.is_dir():
        found = tuple(
            sorted(
                file
                for file in path.rglob("*")
                if file.is_file()
                and file.name.endswith(SUFFIXES)
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
        )
        if not found:
            raise DataError(f"{path}: no data files in this folder; it may hold {', '.join(SUFFIXES)}")
        return found
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; pass data.path=FILE")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: unknown type of file; use one of {', '.join(SUFFIXES)}")
    return (path,)


def file_sha256(path: str | Path) -> str:
    """sha256, hexadecimal, of a file; of a folder, of its data files' relative names and hashes."""
    path = Path(path)
    if path.is_dir():
        lines = [f"{file_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in data_files(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error


def raw_values(path: Path, whole_text: bool = False) -> Iterator[Raw]:
    """Every value of one file in order. A `.txt` file's values are its lines or, with `whole_text`, its whole content.

    Raises:
        DataError: the file as a whole can't be read; of lines that can't, `Raw.error` says so.
    """
    try:
        if path.stat().st_size == 0:
            yield Raw(f"{path}:1", error=BadRecord("empty_file", "the file is empty"))
        elif path.name.endswith(".parquet"):
            yield from _parquet(path)
        elif path.name.endswith(".json"):
            yield from _json_list(path)
        elif path.name.endswith(".txt"):
            yield from _text(path, whole_text)
        else:
            yield from _json_lines(path)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: not a complete gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from error


def _lines(path: Path) -> Iterator[tuple[str, str | BadRecord]]:
    """Places and lines that are not blank, without a byte order mark."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                yield f"{path}:{number}", _not_utf8(error)
                continue
            if text:
                yield f"{path}:{number}", text


def _json_lines(path: Path) -> Iterator[Raw]:
    for place, line in _lines(path):
        if isinstance(line, BadRecord):
            yield Raw(place, error=line)
            continue
        try:
            yield Raw(place, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Raw(place, error=BadRecord("not_json", f"not JSON: {error}"))


def _text(path: Path, whole: bool) -> Iterator[Raw]:
    if whole:
        try:
            yield Raw(f"{path}:1", path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            yield Raw(f"{path}:1", error=_not_utf8(error))
        return
    for place, line in _lines(path):
        yield Raw(place, error=line) if isinstance(line, BadRecord) else Raw(place, line)


def _json_list(path: Path) -> Iterator[Raw]:
    """The items of a list, decoded one after another so that each has its line."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: {_not_utf8(error)}") from error
    decoder = json.JSONDecoder()
    position, line, counted = _skip(text, 0), 1, 0
    if text[position : position + 1] != "[":
        raise DataError(f"{path}:1: a .json file must hold a list of records; for one record a line, name it .jsonl")
    position = _skip(text, position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            # Where a broken item ends can't be told, so the rest of the file is lost with it.
            raise DataError(f"{path}:{line}: not JSON: {error}") from error
        yield Raw(f"{path}:{line}", value)
        position = _skip(text, position)
        following = text[position : position + 1]
        if following not in (",", "]"):
            line += text.count("\n", counted, position)
            raise DataError(f"{path}:{line}: not JSON: expected a comma or the list's end")
        closed = following == "]"
        if not closed:
            position = _skip(text, position + 1)
    position = _skip(text, position + 1)
    if position < len(text):
        raise DataError(f"{path}:{text.count(chr(10), 0, position) + 1}: not JSON: something follows the list's end")


def _skip(text: str, position: int) -> int:
    """The next position that is not JSON white space."""
    while text[position : position + 1] in (" ", "\t", "\n", "\r"):
        position += 1
    return position


def _parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield Raw(f"{path}:{number}", row)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({first_line(error)})") from error


def _not_utf8(error: UnicodeDecodeError) -> BadRecord:
    return BadRecord("not_utf8", f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}")
