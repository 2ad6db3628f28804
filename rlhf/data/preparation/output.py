"""What stays, mixed by weights and split by prompt, as JSONL and as Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.data.files.values import file_sha256
from rlhf.data.preparation.lines import record_of
from rlhf.data.preparation.parquet import Columns
from rlhf.data.preparation.parts import Parts, whole
from rlhf.data.preparation.weights import copies
from rlhf.data.records import Kind, key_of
from rlhf.data.splits import LEVELS, fraction_of

SPLITS = ("train", "validation", "test")
ROWS = 4_096
"""Lines that are written at once."""


@dataclass
class Mixture:
    """Who goes where.

    Attributes:
        rows: of each split, numbers of records in the order of the file; in training a record may stand several times.
        left_out: records that a weight below 1 leaves out. level: of the split.
    """

    rows: dict[str, np.ndarray]
    left_out: np.ndarray
    level: int = 0


def mix(
    parts: Parts,
    stays: np.ndarray,
    weights: Sequence[float],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    shuffle: bool,
    kind: Kind,
    fields: Collection[str] = (),
) -> Mixture:
    """Split by prompt, repeat training records by weight, and shuffle.

    Args:
        stays: [records] bool. weights: of each source: 2 is every record twice, 0.5 every second one, by its hash.
        fields: names of what travels with prompts.
    """
    kept = np.flatnonzero(stays)
    places, level = parts.numbers("uniforms")[kept], 0
    keys: list[str] = []
    while level < LEVELS - 1 and nothing_held_out(places, val_fraction, test_fraction):
        # Cut out of other data by the same split, as a file of collect.py: split anew, see rlhf.data.splits.
        level += 1
        keys = keys or [key_of_line(parts.line(int(i)), kind, fields) for i in kept]
        places = np.array([fraction_of(key, seed, level) for key in keys])
    if nothing_held_out(places, val_fraction, test_fraction):
        places, level = parts.numbers("uniforms")[kept], 0
    training = kept[places >= test_fraction + val_fraction]
    weight = np.array(weights, dtype=np.float64)[parts.sources()[training]]
    times = copies(parts.numbers("digest")[training], weight, seed)
    rows = {
        "train": np.repeat(training, times),
        "validation": kept[(places >= test_fraction) & (places < test_fraction + val_fraction)],
        "test": kept[places < test_fraction],
    }
    if shuffle:
        for number, split in enumerate(SPLITS):
            draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
            rows[split] = rows[split][draw.permutation(len(rows[split]))]
    return Mixture(rows, training[times == 0], level)


def nothing_held_out(places: np.ndarray, val_fraction: float, test_fraction: float) -> bool:
    """Whether a split leaves nothing to validate or to train on, though there are prompts enough: as `level_of` has it,
    so that other files of the same prompts are split alike.

    Args:
        places: of each record, [n]; those of one prompt are equal.
    """
    places, held = np.unique(places), val_fraction + test_fraction
    no_val = len(places) * val_fraction >= 1 and not ((places >= test_fraction) & (places < held)).any()
    return bool(len(places) > 1 and (no_val or (len(places) * (1 - held) >= 1 and (places < held).all())))


def key_of_line(line: bytes, kind: Kind, fields: Collection[str] = ()) -> str:
    """What decides the split of a record, of its line."""
    return key_of(record_of(line, kind, fields))  # type: ignore[arg-type]


def write(
    parts: Parts, mixture: Mixture, folder: Path, parquet: bool, kind: Kind, tell: Callable[[int], None]
) -> dict[str, dict[str, Any]]:
    """Write the splits that hold anything; returns what the card says of each.

    Args:
        tell: is called now and then with the number of lines written.
    """
    found: dict[str, dict[str, Any]] = {}
    done = 0
    for split in SPLITS:
        rows = mixture.rows[split]
        if not len(rows):
            continue
        path = folder / f"{split}.jsonl"
        with whole(path) as stream:
            for lines in batches(parts, rows):
                stream.writelines(lines)
                done += len(lines)
                tell(done)
        found[split] = {"records": len(rows), "file": path.name, "sha256": file_sha256(path)}
        if parquet:
            table = folder / "parquet" / f"{split}.parquet"
            table.parent.mkdir(exist_ok=True)
            with whole(table) as stream:
                written = Columns(stream, kind)
                for lines in batches(parts, rows):
                    written.add([json.loads(line) for line in lines])
                    done += len(lines)
                    tell(done)
                written.close()
            found[split] |= {"parquet": f"parquet/{table.name}", "parquet_sha256": file_sha256(table)}
    return found


def batches(parts: Parts, rows: np.ndarray) -> Iterator[list[bytes]]:
    """The lines of records, some at a time."""
    for begin in range(0, len(rows), ROWS):
        yield [parts.line(int(record)) for record in rows[begin : begin + ROWS]]
