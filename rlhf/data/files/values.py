"""Raw values out of data files, each with the place it stands at, so that a reader's complaint can name `file:line`."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rlhf.data.files import containers
from rlhf.data.files.containers import READABLE, TABLES, Source, kind_of, reading, sources, too_long
from rlhf.data.files.folders import scan
from rlhf.data.files.raw import BadRecord, Raw
from rlhf.data.files.tables import columnar, delimited
from rlhf.errors import DataError

CHUNK = 2**20
"""Characters of a list that are read at a time."""
TOKEN = 32
"""Characters that no literal, no escape and no end of a number is longer than."""
BLANK = re.compile(r"[ \t\n\r]*")
"""JSON's white space."""

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
        number, longest = 0, containers.LONGEST
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                while (rest := file.readline(longest)) and not rest.endswith(b"\n"):
                    continue
                yield f"{source.place}:{number}", BadRecord("too_long", too_long())
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
                # A text that is as long on the disk as in memory was meant to be so long.
                content = text.read(containers.LONGEST + 1 if source.packed else -1)
            if source.packed and len(content) > containers.LONGEST:
                message = f"{too_long()} unless the file is unpacked on the disk"
                yield Raw(f"{source.place}:1", error=BadRecord("too_long", message))
            else:
                yield Raw(f"{source.place}:1", content)
        except UnicodeDecodeError as error:
            yield Raw(f"{source.place}:1", error=_not_utf8(error))
        return
    for place, line in _lines(source):
        yield Raw(place, error=line) if isinstance(line, BadRecord) else Raw(place, line)


class _Growing:
    """A text of which only the part that is looked at is in memory."""

    def __init__(self, place: str, file: IO[bytes]) -> None:
        self.place, self._file = place, file
        self._text, self._at, self._counted, self._line, self._ended = "", 0, 0, 1, False
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    @property
    def line(self) -> int:
        """The line, from 1, of the place that was read up to."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def grow(self) -> bool:
        """Read about as much again as is there; `False` at the end of the file."""
        if not self._ended:
            rest = self._text[self._at :]
            self._line, self._text, self._at, self._counted = self.line, rest, 0, 0
            part = self._file.read(max(CHUNK, len(rest)))
            self._ended = not part
            try:
                self._text += self._decoder.decode(part, final=self._ended)
            except UnicodeDecodeError as error:
                line = self._line + rest.count("\n") + error.object.count(b"\n", 0, error.start)
                raise DataError(f"{self.place}:{line}: {_not_utf8(error)}") from error
        return not self._ended

    def next(self) -> str:
        """The next character that is not JSON white space, where the place is then; empty at the end."""
        while True:
            self._at = BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self.grow():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Pass over one character."""
        self._at += 1

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The value that begins here, which is passed over.

        Raises:
            DataError: it is no JSON, or too long.
        """
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if _is_cut(error, len(self._text)):
                    if len(self._text) - self._at > containers.LONGEST:
                        raise DataError(f"{self.place}:{self.line}: {too_long()}") from error
                    if self.grow():
                        continue
                # Where a broken item ends can't be told, so the rest of the file is lost with it.
                raise DataError(f"{self.place}:{self.line}: not JSON: {error}") from error
            if end - self._at > containers.LONGEST:
                raise DataError(f"{self.place}:{self.line}: {too_long()}")
            start = self._at
            if end <= len(self._text) - TOKEN or not self.grow():  # a number such as 1e5 could be cut
                self._at += end - start  # growing moves the text
                return value


def _is_cut(error: Exception, length: int) -> bool:
    """Whether more text could make it valid: of a broken string the error tells the beginning, else the end."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos > length - TOKEN


def _json_list(source: Source) -> Iterator[Raw]:
    """The items of a list, decoded one after another so that each has its line."""
    with source.open() as file:
        text = _Growing(source.place, file)
        if text.next() != "[":
            raise DataError(
                f"{source.place}:1: a .json file must hold a list of records; for one record a line, name it .jsonl"
            )
        text.skip()
        closed = text.next() == "]"
        decoder = json.JSONDecoder()
        while not closed:
            line = text.line
            yield Raw(f"{source.place}:{line}", text.value(decoder))
            if (following := text.next()) not in (",", "]") or not following:
                raise DataError(f"{source.place}:{text.line}: not JSON: expected a comma or the list's end")
            closed = following == "]"
            if not closed:
                text.skip()
                text.next()
        text.skip()
        if text.next():
            raise DataError(f"{source.place}:{text.line}: not JSON: something follows the list's end")


def _not_utf8(error: UnicodeDecodeError) -> BadRecord:
    return BadRecord("not_utf8", f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}")
