"""The one function through which every stage gets its records."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlhf.data.arithmetic.sums import sums
from rlhf.data.arithmetic.worked_sums import worked_sums
from rlhf.data.assistant import belongs, generate
from rlhf.data.files.prepared import prepared
from rlhf.data.preparation.subsets import fewer_examples, fewer_responses
from rlhf.data.preparation.weights import repeated
from rlhf.data.readers import OnError, Records, read, read_hub
from rlhf.data.records import Kind, Record, key_of, prompt_of
from rlhf.data.splits import Splits, level_of, split_records
from rlhf.errors import DataError

log = logging.getLogger("rlhf")

Source = Literal["assistant", "sums", "worked_sums", "file", "hub"]
EMBEDDED: Mapping[str, Callable[[Kind, int], Sequence[Record]]] = {
    "assistant": generate,
    "sums": sums,
    "worked_sums": worked_sums,
}
"""Tasks that are generated from a seed."""


@dataclass
class Dataset(Splits[Record]):
    """Records of one kind in three parts that share no prompt, with what was counted on the way and where from."""

    counts: dict[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def load(
    kind: Kind,
    *,
    source: Source = "assistant",
    path: str | Sequence[str] | None = None,
    weights: Sequence[float] = (),
    format: str = "auto",
    on_error: OnError = "stop",
    seed: int = 1,
    val_fraction: float = 0.05,
    test_fraction: float = 0.05,
    limit: int | None = None,
    split: str = "train",
    subset: str | None = None,
    ignore: Collection[str] = (),
    val_path: str | None = None,
    fields: Mapping[str, str] | None = None,
    train_examples: int | None = None,
    train_responses: int | None = None,
) -> Dataset:
    """Reads or generates records and splits them by prompt.

    Args:
        source: an embedded task, a file or folder, or the Hugging Face hub (a `path` that exists is read as a file
            there too).
        path: one or several; a folder of `prepare.py` is split as it says itself, by its data card.
        weights: how often the training records of each path count, see `rlhf.data.preparation.weights`; empty: once.
        seed: what an embedded task contains, and how data is split.
        limit: read only so many records of each path, the first ones.
        split, subset: of a hub data set.
        ignore: fields that count as if they were not there.
        fields: what travels with prompts, by names for functions and names in a record.
        val_path: a file or folder with the validation set, which takes the place of `val_fraction`.
        train_examples, train_responses: train on so many records, and answers of each ranking, see `subsets.py`.

    Raises:
        DataError: unreadable data, no path, or nothing left to train on.
    """
    if val_path is not None:
        val_fraction = 0.0
    paths = [path] if isinstance(path, str) else list(path or ())
    if source not in EMBEDDED and not paths:
        raise DataError(
            f"data.path is missing: data.source={source} needs data.path={'OWNER/NAME' if source == 'hub' else 'FILE'}"
        )
    options = (on_error, format, split, subset, ignore, fields)
    pieces = (
        [_generated(source, kind, seed, limit)]
        if source in EMBEDDED
        else [_piece(one, source, kind, limit, *options) for one in paths]
    )
    shown = ", ".join(paths) or source
    plain = [record for piece in pieces if piece.held is None for record in piece.items]
    level = 0 if source in EMBEDDED else level_of(map(key_of, plain), seed, val_fraction, test_fraction)
    parts: Splits[Record] = Splits()
    for number, piece in enumerate(pieces):
        own = piece.held or split_records(piece.items, seed, val_fraction, test_fraction, level)
        parts.train += repeated(own.train, weights[number] if weights else 1.0, seed)
        parts.val += own.val
        parts.test += own.test
    items = [record for piece in pieces for record in piece.items]
    if len(pieces) > 1 and any(piece.held is not None for piece in pieces):
        _without_held_out(parts)
    if source == "assistant" and kind != "documents":
        # A prompt serves one stage only; the held-out ones are the same for all.
        for part in (parts.train, parts.val):
            part[:] = [r for r in part if (prompt := prompt_of(r)) is not None and belongs(prompt, kind, seed)]
    if level:
        log.warning(
            "%s: all its prompts belong to one part of the split by data.seed=%d, as in a file of collect.py, so they "
            "are split once more (level %d)",
            shown,
            seed,
            level,
        )
    if val_path is not None:
        parts.val = _validation(parts, read(val_path, kind, on_error, format, ignore, fields=fields).items, val_path)
    elif val_fraction > 0 and not parts.val:
        prompts = len(set(map(key_of, items)))
        log.warning(
            "data.val_fraction: %g of %d different prompts (%d %s) is less than one prompt, so there is no validation; "
            "raise it, or pass data.val_path=FILE",
            val_fraction,
            prompts,
            len(items),
            kind,
        )
    if train_examples is not None:
        parts.train = fewer_examples(parts.train, train_examples, seed)
    if train_responses is not None:
        parts.train = fewer_responses(parts.train, train_responses, seed)
    read_counts: Counter[str] = Counter()
    for piece in pieces:
        read_counts.update(piece.counts)
    counts = {**read_counts, "train": len(parts.train), "val": len(parts.val), "test": len(parts.test)}
    if not parts.train:
        raise DataError(
            f"{shown}: of {len(items)} {kind} none falls in the training part; "
            "lower data.val_fraction and data.test_fraction or give more data"
        )
    return Dataset(parts.train, parts.val, parts.test, counts, tuple(f for piece in pieces for f in piece.files))


@dataclass
class _Piece(Records):
    """What one path holds; `held`: how it is split already."""

    held: Splits[Record] | None = None


def _generated(source: str, kind: Kind, seed: int, limit: int | None) -> _Piece:
    items = list(EMBEDDED[source](kind, seed))
    return _Piece(items[:limit], kind, {"read": len(items), "kept": len(items)})


def _piece(
    path: str,
    source: str,
    kind: Kind,
    limit: int | None,
    on_error: OnError,
    format: str,
    split: str,
    subset: str | None,
    ignore: Collection[str],
    fields: Mapping[str, str] | None,
) -> _Piece:
    """The records of one path."""
    card = prepared(Path(path)) if source == "file" and Path(path).is_dir() else None
    if card is not None and len(card.splits) > 1:
        # Cut by prompt already, so that what was held out from other stages stays held out.
        parts = {name: read(file, kind, on_error, format, ignore, fields=fields) for name, file in card.splits.items()}
        cut = {name: records.items[:limit] for name, records in parts.items()}
        held = Splits(cut.get("train", []), cut.get("validation", []), cut.get("test", []))
        counts: Counter[str] = Counter()
        for records in parts.values():
            counts.update(records.counts)
        return _Piece([*held.train, *held.val, *held.test], kind, dict(counts), tuple(card.splits.values()), held)
    if source == "file":
        found = read(path, kind, on_error, format, ignore, fields=fields)
    elif Path(path).exists():
        # A single file, as a local copy of what has subsets on the hub, has none.
        folder = Path(path) if Path(path).is_file() else Path(path, subset or "")
        if not folder.exists():
            raise DataError(f"data.subset: {path} has no folder {subset!r}")
        found = read(folder, kind, on_error, format, ignore, split, fields)
    else:
        found = read_hub(path, kind, on_error, format, split, subset, ignore, fields)
    return _Piece(found.items[:limit], kind, found.counts, found.files)


def _without_held_out(parts: Splits[Record]) -> None:
    """Paths that are split in different ways: what one of them holds out is no training record of another, and what one
    tests on validates none."""
    tested = set(map(key_of, parts.test))
    parts.val = [record for record in parts.val if key_of(record) not in tested]
    held = tested | set(map(key_of, parts.val))
    train = [record for record in parts.train if key_of(record) not in held]
    if len(train) < len(parts.train):
        log.warning(
            "data.path: %d training examples have a prompt that another path holds out, and are left out",
            len(parts.train) - len(train),
        )
    parts.train = train


def _validation(parts: Splits[Record], items: list[Record], path: str) -> list[Record]:
    """The records of a file of their own; what has the prompt of one of them is taken out of the training part."""
    keys = set(map(key_of, items))
    train = [record for record in parts.train if key_of(record) not in keys]
    if len(train) < len(parts.train):
        log.warning(
            "data.val_path: %d training examples have a prompt of %s and are left out",
            len(parts.train) - len(train),
            path,
        )
    parts.train = train
    return items
