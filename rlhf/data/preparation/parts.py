"""What passed the filters, on the disk in parts: each whole or absent, so that a killed run continues after the last.

A part has `NNNNN.jsonl`, one record a line as it will be written; `NNNNN.npz`, numbers of each record;
`NNNNN.hashes.npy`, its MinHashes; `NNNNN.places`, where each record was read; and `NNNNN.json`, written last: how far
into its source it goes, what was counted, and examples.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

NUMBERS: dict[str, np.dtype[Any]] = {
    "digest": np.dtype(np.uint64),
    "digest_more": np.dtype(np.uint64),
    "uniforms": np.dtype(np.float64),
    "prompt_words": np.dtype(np.uint32),
    "answer_words": np.dtype(np.uint32),
    "contaminated": np.dtype(np.bool_),
    "starts": np.dtype(np.uint64),
}
"""Arrays of a part: 16 bytes that equal records share, in two halves; where the hash of the prompt falls in [0, 1);
lengths in words, of the longest answer; whether an evaluation has it; and where lines start, and the last ends."""


@contextmanager
def whole(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that is there only when all of it is written."""
    part = path.with_name(f".{path.name}.part")
    with open(part, mode, encoding=None if "b" in mode else "utf-8") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)


@dataclass
class Part:
    """A part that is being filled.

    Attributes:
        source: number of the source. dataset: its name. values: how many of its values were read up to here.
        last: whether the source ends here.
        counts: by step and reason, such as `removed/filter/too_short`.
        examples: removed records, by reason.
        hits: items of evaluations, by the record's place in the part.
    """

    source: int
    dataset: str
    values: int = 0
    last: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    hits: dict[int, dict[str, str]] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in NUMBERS})
    hashes: list[np.ndarray] = field(default_factory=list)

    def write(self, folder: Path, number: int) -> None:
        """Write it, the description last."""
        stem = folder / f"{number:05d}"
        starts = np.cumsum([0, *map(len, self.lines)], dtype=np.uint64)
        columns = {**self.columns, "starts": starts}
        with whole(stem.with_suffix(".jsonl")) as stream:
            stream.writelines(self.lines)
        with whole(stem.with_suffix(".npz")) as stream:
            arrays: dict[str, Any] = {name: np.asarray(columns[name], dtype=dtype) for name, dtype in NUMBERS.items()}
            np.savez(stream, **arrays)
        if self.hashes:
            with whole(stem.with_suffix(".hashes.npy")) as stream:
                np.save(stream, np.stack(self.hashes))
        with whole(stem.with_suffix(".places"), "w") as stream:
            json.dump(self.places, stream, ensure_ascii=True)
        about = {
            "source": self.source,
            "values": self.values,
            "last": self.last,
            "records": len(self.lines),
            "counts": dict(self.counts),
            "examples": self.examples,
            "hits": self.hits,
        }
        with whole(stem.with_suffix(".json"), "w") as stream:
            json.dump(about, stream, ensure_ascii=True)


@dataclass(frozen=True)
class Written:
    """A part on the disk.

    Attributes:
        first: number of its first record among all that passed. about: what its `.json` says.
    """

    stem: Path
    first: int
    about: dict[str, Any]

    @property
    def source(self) -> int:
        """Number of its source."""
        return int(self.about["source"])

    @property
    def records(self) -> int:
        """How many records it holds."""
        return int(self.about["records"])

    def numbers(self, name: str) -> np.ndarray:
        """One of `NUMBERS`."""
        with np.load(self.stem.with_suffix(".npz")) as found:
            return np.asarray(found[name])

    def hashes(self) -> np.ndarray:
        """MinHashes, [records, permutations] uint32, read as they are needed."""
        path = self.stem.with_suffix(".hashes.npy")
        return np.load(path, mmap_mode="r") if path.exists() else np.empty((0, 0), dtype=np.uint32)

    def places(self) -> list[str]:
        """`file:line` of each record."""
        return list(json.loads(self.stem.with_suffix(".places").read_text(encoding="utf-8")))


def remove(folder: Path) -> None:
    """Remove all parts: their descriptions first, the last one's first of all, so that a run that is killed meanwhile
    continues after whole ones."""
    for about in sorted(folder.glob("*.json"), reverse=True):
        about.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


class Parts:
    """All parts of a folder, in order, up to the first that is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Written] = []
        first = 0
        while (about := folder / f"{len(self.all):05d}.json").exists():
            part = Written(about.with_suffix(""), first, json.loads(about.read_text(encoding="utf-8")))
            first += part.records
            self.all.append(part)
        self.records = first
        self._starts = np.array([part.first for part in self.all], dtype=np.int64)
        self._open = lru_cache(maxsize=128)(self._opened)
        self._places = lru_cache(maxsize=8)(lambda number: self.all[number].places())

    def numbers(self, name: str) -> np.ndarray:
        """One of `NUMBERS` but `starts`, of all records."""
        found = [part.numbers(name) for part in self.all]
        return np.concatenate(found) if found else np.empty(0, dtype=NUMBERS[name])

    def sources(self) -> np.ndarray:
        """The number of each record's source, [records]."""
        numbers, counts = [part.source for part in self.all], [part.records for part in self.all]
        return np.repeat(np.array(numbers, dtype=np.int64), counts)

    def line(self, record: int) -> bytes:
        """The line of a record, with its end."""
        number, place = self._at(record)
        stream, starts = self._open(number)
        begin, end = int(starts[place]), int(starts[place + 1])
        return os.pread(stream.fileno(), end - begin, begin)

    def place(self, record: int) -> str:
        """`file:line` that a record was read from."""
        number, place = self._at(record)
        return str(self._places(number)[place])

    def hit(self, record: int) -> dict[str, str]:
        """The item of an evaluation that a contaminated record has."""
        number, place = self._at(record)
        return dict(self.all[number].about["hits"][str(place)])

    def counts(self, source: int) -> Counter[str]:
        """What reading a source counted."""
        total: Counter[str] = Counter()
        for part in self.all:
            if part.source == source:
                total.update(part.about["counts"])
        return total

    def examples(self, most: int) -> dict[str, list[dict[str, str]]]:
        """The first removed records of each reason."""
        found: dict[str, list[dict[str, str]]] = {}
        for part in self.all:
            for reason, examples in part.about["examples"].items():
                mine = found.setdefault(reason, [])
                mine += examples[: most - len(mine)]
        return found

    def _at(self, record: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._starts, record, side="right")) - 1
        return number, record - int(self._starts[number])

    def _opened(self, number: int) -> tuple[IO[bytes], np.ndarray]:
        part = self.all[number]
        # Closed when the cache drops it.
        return part.stem.with_suffix(".jsonl").open("rb"), part.numbers("starts")
