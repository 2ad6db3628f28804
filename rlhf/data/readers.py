"""Reads data files, folders and hub data sets into records, counting what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from rlhf.data.files import BadRecord, Raw, data_files, file_sha256, raw_values
from rlhf.data.formats import DROPPED, FORMATS, Format, parse
from rlhf.data.hub import only_cached, reachable
from rlhf.data.label_studio import LEFT_OUT, comparisons
from rlhf.data.records import Kind
from rlhf.errors import DataError

__all__ = ["OnError", "Records", "file_sha256", "read", "read_hub"]

OnError = Literal["stop", "skip"]
TOLERATED = (DROPPED, *LEFT_OUT)
"""Reasons that are always counted, and never a reason to stop."""


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


def read(path: str | Path, kind: Kind, on_error: OnError = "stop", format: Format = "auto") -> Records:
    """Records of one kind from a file, or from all data files of a folder.

    `.jsonl`, `.jsonl.gz`, `.json` (a list), `.parquet` and `.txt` (prompts: one a line; documents: the whole file).
    Tasks of a Label Studio export become a record for each comparison that an annotator made. Pairs that differ before
    the last Assistant turn, and annotations that compare nothing, are always dropped and counted.

    Args:
        on_error: at a bad line, `stop` with an error or `skip` it and count its reason. A file that can't be read as a
            whole (no gzip, no parquet, broken JSON list) stops either way.

    Raises:
        DataError: `file:line: what is wrong`, or nothing is left.
    """
    _check_arguments(kind, on_error, format)
    files = data_files(Path(path))
    found = (raw for file in files for raw in raw_values(file, whole_text=kind == "documents"))
    values = (value for raw in found for value in comparisons(raw))
    return _collect(values, kind, on_error, format, str(path), files)


def read_hub(
    name: str,
    kind: Kind,
    on_error: OnError = "stop",
    format: Format = "auto",
    split: str = "train",
    subset: str | None = None,
) -> Records:
    """Records of one kind from a data set of the Hugging Face hub, or from a folder laid out like one.

    Args:
        split: as `datasets.load_dataset` takes it.
        subset: the data set's configuration or, where it has none of that name, a folder within it.

    Raises:
        DataError: `datasets` is not installed, the data set can't be fetched, or as `read`, with `name[split]:row`.
    """
    _check_arguments(kind, on_error, format)
    return _collect(_hub_rows(name, split, subset), kind, on_error, format, name, ())


def _hub_rows(name: str, split: str, subset: str | None) -> Iterator[Raw]:
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
    values: Iterable[Raw], kind: Kind, on_error: OnError, format: Format, source: str, files: tuple[Path, ...]
) -> Records:
    records = Records([], kind, files=files)
    counts: Counter[str] = Counter(read=0, kept=0)
    first = ""
    for raw in values:
        counts["read"] += 1
        try:
            if raw.error is not None:
                raise raw.error
            records.items.append(parse(raw.value, kind, format))
        except BadRecord as error:
            counts[error.reason] += 1
            message = f"{raw.place}: {error}"
            first = first or message
            if on_error == "stop" and error.reason not in TOLERATED:
                raise DataError(message) from error
    counts["kept"] = len(records.items)
    records.counts = dict(counts)
    if not records.items:
        raise DataError(f"{source}: no {kind} in it" + (f"; the first that was left out is {first}" if first else ""))
    return records


def _check_arguments(kind: str, on_error: str, format: str) -> None:
    for name, value, allowed in (
        ("kind", kind, get_args(Kind)),
        ("on_error", on_error, get_args(OnError)),
        ("format", format, FORMATS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
