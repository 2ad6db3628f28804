"""Text, JSON and YAML from untrusted files: regular files only, of bounded size and depth."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

MIB = 2**20
LIMIT = 64 * MIB
"""Largest text that is read as one value: a JSON or YAML document, or one line of JSONL. Bytes."""
YAML_LIMIT = MIB
"""The same for YAML, whose parser is a thousand times slower; the lab's own files have some KiB."""
DEPTH = 100
"""Lists and objects within each other: what is read here is walked by functions that call themselves."""
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
}


class Unreadable(Exception):
    """A file can't be used. The message says why, without the file's name: "not JSON: …"."""


def kind_of(mode: int) -> str | None:
    """What a file is in words; `None` for a regular file."""
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


def open_regular(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open for reading without waiting for a writer, as opening a FIFO would.

    Args:
        follow: whether `path` may be a symbolic link.

    Raises:
        Unreadable: it is no regular file.
        OSError: it is not there, or access is denied.
    """
    if not follow and path.is_symlink():
        raise Unreadable("a symbolic link, not a regular file")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if kind := kind_of(os.fstat(handle).st_mode):
            raise Unreadable(f"{kind}, not a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text(path: Path, limit: int = LIMIT) -> str:
    """UTF-8 text of at most `limit` bytes, line ends as they are.

    Raises:
        Unreadable: it is longer, no UTF-8, or no regular file.
        OSError: it is not there, or access is denied.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Unreadable(f"longer than {limit // MIB} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: byte 0x{content[error.start]:02x} at position {error.start}") from error


def parse_json(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        Unreadable: it is none, is nested too deeply, or holds a number of thousands of digits.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise Unreadable("not JSON that can be read: nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from error
    layer = [value]
    for _ in range(DEPTH):
        layer = [inner for outer in layer for inner in _parts(outer) if isinstance(inner, dict | list)]
        if not layer:
            return value
    raise Unreadable("not JSON that can be read: nested too deeply")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json(path: Path, limit: int = LIMIT) -> Any:
    """The JSON document in a file.

    Raises:
        Unreadable, OSError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, limit))


def read_json_lines(path: Path, limit: int = LIMIT) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file, one per line. Lines end with a line feed and nothing else: U+2028 and its like are
    text. What is not a whole JSON object, such as a last line that a kill cut short, is left out.

    Raises:
        Unreadable, OSError: the file can't be opened.
    """
    with open_regular(path) as file:
        while line := file.readline(limit):
            if not line.endswith(b"\n") and len(line) == limit:
                while (rest := file.readline(limit)) and not rest.endswith(b"\n"):
                    continue
                continue
            try:
                content = parse_json(line.decode("utf-8"))
            except (Unreadable, UnicodeDecodeError):
                continue
            if isinstance(content, dict):
                yield content


def read_yaml(path: Path) -> Any:
    """The YAML document in a file, of plain values. References within it are refused: a few lines of them can stand
    for more values than a machine holds.

    Raises:
        Unreadable, OSError: as `read_text`; it is not YAML, or nested too deeply.
    """
    text = read_text(path, YAML_LIMIT)
    import yaml

    try:
        return yaml.load(text, _plain_loader())
    except RecursionError as error:
        raise Unreadable("not YAML that can be read: nested too deeply") from error
    # Constructors of odd scalars (`!!int ""`) raise what they happen to stumble over.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise Unreadable(f"not YAML: {' '.join(str(error).split())}") from error


@cache
def _plain_loader() -> Any:
    """PyYAML's loader of plain values, without aliases."""
    import yaml

    class PlainLoader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                event = self.peek_event()
                raise yaml.composer.ComposerError(None, None, "references are not allowed", event.start_mark)
            return super().compose_node(parent, index)

    return PlainLoader
