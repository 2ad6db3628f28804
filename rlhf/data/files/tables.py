"""Rows of CSV, TSV, Parquet and Arrow files as objects; what is empty in a row is left out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from rlhf.data.files import containers
from rlhf.data.files.containers import Source, too_long
from rlhf.data.files.raw import BadRecord, Raw
from rlhf.errors import DataError, first_line


def delimited(source: Source) -> Iterator[Raw]:
    """Rows of a CSV or TSV file with a line of names; the place is the line that a row begins on.

    Raises:
        DataError: two columns of one name, or a cell that never ends.
    """
    csv.field_size_limit(containers.LONGEST)  # Python's own, 131,072 characters, is less than a long document
    with source.open() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter="\t" if source.kind == ".tsv" else ",", strict=True)
        names: list[str] | None = None
        line = 1
        try:
            for cells in rows:
                place, line = f"{source.place}:{line}", rows.line_num + 1
                if not any(cells):
                    continue
                if names is None:
                    names = [name.strip() for name in cells]
                    if len({*names}) < len(names):
                        twice = next(name for name in names if names.count(name) > 1)
                        raise DataError(f"{place}: two columns have the name {twice!r}")
                elif len(cells) != len(names):
                    message = f"{len(cells)} cells, but the first line names {len(names)} columns"
                    yield Raw(place, error=BadRecord("wrong_format", message))
                else:
                    yield Raw(place, {name: _cell(cell) for name, cell in zip(names, cells, strict=True) if cell})
        except (csv.Error, UnicodeDecodeError) as error:
            # Where the next row begins can't be told.
            reason = f"not UTF-8: {error.reason}" if isinstance(error, UnicodeDecodeError) else f"not CSV: {error}"
            raise DataError(f"{source.place}:{line}: {reason}") from error


def _cell(text: str) -> Any:
    """A list of messages, which a cell can hold only as JSON; anything else is text, even where it is JSON."""
    if not text.startswith("[{"):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if all(isinstance(item, dict) and {"role", "from"} & item.keys() for item in found) else text


def columnar(source: Source) -> Iterator[Raw]:
    """Rows of a Parquet or Arrow file, numbered from 1.

    Raises:
        DataError: it is damaged, or its rows are too long to be unpacked.
    """
    kind = "a readable parquet file" if source.kind == ".parquet" else "a readable arrow file"
    number = 0
    try:
        with source.open() as stream:
            for batch in _parquet(source.place, stream) if source.kind == ".parquet" else _arrow(stream):
                whole = batch.nbytes <= containers.LONGEST
                for row in batch.to_pylist() if whole else _one_by_one(batch):
                    number += 1
                    place = f"{source.place}:{number}"
                    yield Raw(place, error=BadRecord("too_long", too_long())) if row is None else Raw(place, row)
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the library's
            raise
        # Damaged files end in any error: MemoryError over an impossible size, ValueError over an impossible date.
        raise DataError(f"{source.place}: not {kind} ({first_line(error)})") from error


def _one_by_one(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Rows; `None` for those that are too long."""
    for number in range(batch.num_rows):
        row = batch.slice(number, 1)
        yield row.to_pylist()[0] if row.nbytes <= containers.LONGEST else None


def _parquet(place: str, stream: Any) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(stream) as file:
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            # Before anything is unpacked, only the sum is known.
            if group.total_byte_size > containers.LONGEST * max(1, group.num_rows):
                size = group.total_byte_size / max(1, group.num_rows) / 2**20
                raise DataError(f"{place}: row group {number}: rows of {size:,.0f} MiB on average, {too_long()}")
        # Few rows at a time, since a long text that is stored once can stand in each of them.
        yield from file.iter_batches(batch_size=128)


def _arrow(stream: Any) -> Iterator[Any]:
    """Batches of Arrow's stream, which `datasets` writes, or of its file, which has an index."""
    import pyarrow

    if stream.read(6) == b"ARROW1":
        with pyarrow.ipc.open_file(pyarrow.PythonFile(stream)) as file:
            for number in range(file.num_record_batches):
                yield from _small(file.get_batch(number))
        return
    stream.seek(0)
    with pyarrow.ipc.open_stream(stream) as batches:
        for batch in batches:
            yield from _small(batch)


def _small(batch: Any) -> Iterator[Any]:
    # Offsets of a damaged file point anywhere, and without this the process would end in a segmentation fault.
    batch.validate(full=True)
    for start in range(0, batch.num_rows, 1024):
        yield batch.slice(start, 1024)
