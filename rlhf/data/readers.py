"""Reads data files, folders and hub data sets into records, counting what was left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from rlhf.data.files.folders import SPLITS, scan, split_of, unread_sentence
from rlhf.data.files.hub import only_cached, reachable
from rlhf.data.files.values import BadRecord, Raw, data_files, file_sha256, raw_values
from rlhf.data.formats.meaning import TOLERATED, UNDESIRABLE, UNKNOWN_FIELD
from rlhf.data.formats.parse import detected, parse
from rlhf.data.importers import importer
from rlhf.data.records import Kind, Record, prompt_of
from rlhf.errors import DataError

__all__ = ["OnError", "Records", "file_sha256", "read", "read_hub"]

log = logging.getLogger("rlhf")

OnError = Literal["stop", "skip"]


class FieldError(DataError):
    """A field that could change what records mean is not understood: no other way of reading the file may pass it."""


@dataclass
class Records:
    """What was read.

    Attributes:
        items: records, in order.
        counts: `read` (values looked at), `kept`, and how many were left out by reason.
        files: the files read; none for hub data sets.
    """

    items: list[Any]
    kind: str
    counts: dict[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def read(
    path: str | Path,
    kind: Kind,
    on_error: OnError = "stop",
    format: str = "auto",
    ignore: Collection[str] = (),
    split: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> Records:
    """Records of one kind from a file, or from all data files of a folder.

    The types of files are those of `containers`: a `.json` file holds a list, a `.txt` file prompts, one a line, or a
    document. Files of a folder that are not read are named in a warning.

    The formats are those of `importers`. What the file itself marks as unusable, such as pairs that differ
    before the last answer or answers labelled undesirable, is left out and counted (`meaning.TOLERATED`).

    Args:
        format: a name of `importers.names()`; `auto` looks at each record's fields.
        ignore: fields that count as if they were not there.
        fields: what travels with prompts, see `rlhf.data.formats.parse.parse`.
        split: read only the files of a folder whose names tell this split; `None`: all of them.
        on_error: at a bad line, `stop` with an error or `skip` it and count its reason. A file that can't be read as a
            whole (no gzip, no parquet, broken JSON list) stops either way.

    Raises:
        DataError: `file:line: what is wrong`, or nothing is left.
        FieldError: a field is not understood and could change the meaning, whatever `on_error` says.
    """
    _check_arguments(kind, on_error, format)
    files = files_of(Path(path), split)
    found = file_values(files, kind)
    return _collect(found, kind, on_error, format, str(path), files, ignore, fields)


def read_hub(
    name: str,
    kind: Kind,
    on_error: OnError = "stop",
    format: str = "auto",
    split: str = "train",
    subset: str | None = None,
    ignore: Collection[str] = (),
    fields: Mapping[str, str] | None = None,
) -> Records:
    """Records of one kind from a data set of the Hugging Face hub, or from a folder laid out like one.

    Args:
        split: as `datasets.load_dataset` takes it.
        subset: the data set's configuration or, where it has none of that name, a folder within it.

    Raises:
        DataError: `datasets` is not installed, the data set can't be fetched, or as `read`, with `name[split]:row`.
    """
    _check_arguments(kind, on_error, format)
    return _collect(hub_values(name, split, subset), kind, on_error, format, name, (), ignore, fields)


def files_of(path: Path, split: str | None) -> tuple[Path, ...]:
    """The file itself, or those of a folder; what is not read of it is said in a warning.

    Raises:
        DataError: there are none, or no such split.
    """
    if not path.is_dir():
        if split not in (None, "train") and split_of(PurePosixPath(path.name)) != SPLITS.get(str(split), split):
            raise DataError(f"data.split: {path} is one file and has no split {split!r}; leave data.split out")
        return data_files(path)
    folder = scan(path)
    files = folder.files if split is None else folder.of_split(path, split)
    if sentence := unread_sentence(path, folder, files):
        log.warning("%s", sentence)
    return files


def file_values(files: Iterable[Path], kind: Kind) -> Iterator[Raw]:
    """Every value of files in order, before anybody knows what it means."""
    return (raw for file in files for raw in raw_values(file, whole_text=kind == "documents"))


def hub_values(name: str, split: str, subset: str | None) -> Iterator[Raw]:
    """Every row of a data set of the hub; see `read_hub`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data set {name}: `pip install datasets` to read the Hugging Face hub, or pass data.path=FILE"
        ) from error
    try:
        with nullcontext() if Path(name).is_dir() or reachable() else only_cached():
            try:
                data = datasets.load_dataset(name, name=subset, split=split)
            except ValueError:
                if subset is None:
                    raise
                data = datasets.load_dataset(name, data_dir=subset, split=split)
    except Exception as error:  # the library raises a dozen kinds, its own and the network's
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"data set {name}: can't be loaded from the Hugging Face hub ({reason}); pass data.path=FILE, a local copy"
        ) from error
    for number, row in enumerate(data, 1):
        yield Raw(f"{name}[{split}]:{number}", row)


def _collect(
    values: Iterable[Raw],
    kind: Kind,
    on_error: OnError,
    format: str,
    source: str,
    files: tuple[Path, ...],
    ignore: Collection[str],
    fields: Mapping[str, str] | None = None,
) -> Records:
    records = Records([], kind, files=files)
    counts: Counter[str] = Counter(read=0, kept=0)
    first, noted = "", format != "auto"
    for raw in values:
        for found in [raw.error] if raw.error is not None else parse(raw.value, kind, format, ignore, fields):
            counts["read"] += 1
            if not isinstance(found, BadRecord):
                records.items.append(_placed(found, raw.place))
                continue
            counts[found.reason] += 1
            message = f"{raw.place}{', ' if found.where else ''}{found.where}: {found}"
            first = first or message
            if found.reason == UNKNOWN_FIELD:
                raise FieldError(message) from found
            if on_error == "stop" and found.reason not in TOLERATED:
                raise DataError(message) from found
        if not noted and records.items:
            noted = True
            _note(raw, kind, ignore)
    counts["kept"] = len(records.items)
    records.counts = dict(counts)
    if not records.items:
        raise DataError(f"{source}: no {kind} in it" + (f"; the first that was left out is {first}" if first else ""))
    if counts[UNDESIRABLE]:
        log.warning("%s: %d answers are labelled undesirable and not imitated", source, counts[UNDESIRABLE])
    return records


def _placed(record: Record, place: str) -> Record:
    """The record with the place that it was read from, which is no part of what makes records equal."""
    placed = prompt_of(record) or record
    object.__setattr__(placed, "place", place)  # frozen, but not shared yet
    return record


def _note(raw: Raw, kind: Kind, ignore: Collection[str]) -> None:
    found = detected(raw.value, kind, ignore) if raw.error is None else None
    if found is not None and found.note:
        log.warning("%s: %s", raw.place, found.note)


def _check_arguments(kind: str, on_error: str, format: str) -> None:
    for name, value, allowed in (("kind", kind, get_args(Kind)), ("on_error", on_error, get_args(OnError))):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if format != "auto":
        importer(format)
