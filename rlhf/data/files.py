"""Raw values out of data files, each with the place it stands at, so that a reader's complaint can name `file:line`."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

from rlhf.data.containers import READABLE, TABLES, Source, kind_of, reading, sources
from rlhf.data.folders import scan
from rlhf.data.raw import BadRecord, Raw
from rlhf.data.tables import columnar, delimited
from rlhf.errors import DataError

LONGEST = 64 * 2**20
"""Bytes of a line, unpacked: a file of some KiB can unpack to a line that fills the memory."""

__all__ = ["BadRecord", "Raw", "data_files", "file_sha256", "raw_values"]


def data_files(path: Path) -> tuple[Path, ...]:
    """The file itself, or all data files of a folder and its folders, sorted; see `scan`.

    Raises:
        DataError: nothing there, an unknown type of file, or a folder without data files.
    """
    if path.is_dir():
        return scan(path).files
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; pass data.path=FILE")
    if kind_of(path.name) is None:
        raise DataError(f"{path}: unknown type of file; use one of {READABLE}")
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
    with reading(path):
        if path.stat().st_size == 0:
            yield Raw(f"{path}:1", error=BadRecord("empty_file", "the file is empty"))
            return
        for source in sources(path):
            yield from _values(source, whole_text)


def _values(source: Source, whole_text: bool) -> Iterator[Raw]:
    if source.kind in TABLES:
        yield from columnar(source)
    elif source.kind in (".csv", ".tsv"):
        yield from delimited(source)
    elif source.kind == ".json":
        yield from _json_list(source)
    elif source.kind == ".txt":
        yield from _text(source, whole_text)
    else:
        yield from _json_lines(source)


def _lines(source: Source) -> Iterator[tuple[str, str | BadRecord]]:
    """Places and lines that are not blank, without their ends and a byte order mark."""
    with source.open() as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
                    continue
                yield f"{source.place}:{number}", BadRecord("too_long", f"longer than {LONGEST >> 20} MiB")
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield f"{source.place}:{number}", _not_utf8(error)
                continue
            if text.strip():
                yield f"{source.place}:{number}", text


def _json_lines(source: Source) -> Iterator[Raw]:
    for place, line in _lines(source):
        if isinstance(line, BadRecord):
            yield Raw(place, error=line)
            continue
        try:
            yield Raw(place, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Raw(place, error=BadRecord("not_json", f"not JSON: {error}"))


def _text(source: Source, whole: bool) -> Iterator[Raw]:
    if whole:
        try:
            with source.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
                yield Raw(f"{source.place}:1", text.read())
        except UnicodeDecodeError as error:
            yield Raw(f"{source.place}:1", error=_not_utf8(error))
        return
    for place, line in _lines(source):
        yield Raw(place, error=line) if isinstance(line, BadRecord) else Raw(place, line)


def _json_list(source: Source) -> Iterator[Raw]:
    """The items of a list, decoded one after another so that each has its line."""
    path = source.place
    with source.open() as file:
        content = file.read()
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


def _not_utf8(error: UnicodeDecodeError) -> BadRecord:
    return BadRecord("not_utf8", f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}")
