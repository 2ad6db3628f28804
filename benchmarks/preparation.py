"""A million records through `prepare.py`: time, memory, planted duplicates found, and the same bytes after a kill.

    python -m benchmarks.preparation --records 1000000 --work /tmp/million
    python -m benchmarks.preparation --records 100000 --work /tmp/hundred --kills 3

The texts are random words with the frequencies of a language (Zipf). A twentieth of the records equal an earlier one
but for white space and Unicode form. Another twentieth are near duplicates: about one word in fifty of the answer is
another one, which leaves a similarity of 0.8 to 0.97. A third twentieth are no duplicates, though they look like it:
a quarter of the answer's words are others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rlhf.data.files.values import file_sha256
from rlhf.runs import Summary

EXACT, NEAR, UNLIKE = 1, 2, 3
VOCABULARY = 60_000
SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u", "an", "er", "on")]


def words(count: int) -> list[str]:
    """So many different words of one to four syllables, the short ones first."""
    draw = random.Random(7)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices(SYLLABLES, k=1 + len(found).bit_length() // 5))] = None
    return list(found)


def mixed(*numbers: int) -> int:
    """64 bits out of numbers: the finaliser of SplitMix64 over each in turn."""
    found = 0
    for number in numbers:
        found = (found + number * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
        found = (found ^ (found >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        found = (found ^ (found >> 27)) * 0x94D049BB133111EB % 2**64
        found ^= found >> 31
    return found


class Texts:
    """Record `i` as a function of `i` alone. A text is drawn word by word out of two long rows of words, from places
    and by a pattern of its own: a generator for each record would take longer than preparing it."""

    LENGTH = 2**21

    def __init__(self) -> None:
        draw = np.random.default_rng(11)
        self.words = words(VOCABULARY)
        weight = 1 / np.arange(2, VOCABULARY + 2)
        sums = np.cumsum(weight / weight.sum())
        self.rows = [np.minimum(np.searchsorted(sums, draw.random(self.LENGTH)), VOCABULARY - 1) for _ in range(2)]
        self.pattern = draw.random(self.LENGTH) < 0.5

    def text(self, seed: int, shortest: int, longest: int) -> list[int]:
        """Numbers of words."""
        count = shortest + mixed(seed, 0) % (longest - shortest)
        one, two, which = (mixed(seed, n) % (self.LENGTH - count) for n in (1, 2, 3))
        pattern = self.pattern[which : which + count]
        found: list[int] = np.where(pattern, self.rows[0][one : one + count], self.rows[1][two : two + count]).tolist()
        return found

    @staticmethod
    def planted(number: int) -> int:
        """What a record is: 0 for an original."""
        return max(0, mixed(2, number) % 20 - 16) if number > 100 else 0

    def record(self, number: int) -> tuple[int, str, str]:
        """What it is, its prompt and its answer."""
        kind, twin, tries = self.planted(number), number, 0
        while kind and (twin == number or self.planted(twin)):
            twin, tries = mixed(3, number, tries) % number, tries + 1
        prompt, answer = self.text(mixed(4, twin), 8, 30), self.text(mixed(5, twin), 30, 120)
        if kind in (NEAR, UNLIKE):
            for change in range(max(1, len(answer) // (50 if kind == NEAR else 4))):
                answer[mixed(6, number, change) % len(answer)] = VOCABULARY // 2 + mixed(7, number, change) % 20_000
        asked, said = (" ".join([self.words[word] for word in text]) for text in (prompt, answer))
        return kind, f"{asked.capitalize()}?", f"  {said}.\r\n" if kind == EXACT else f"{said}."


def generate(path: Path, count: int) -> np.ndarray:
    """Write the records, unless they are there; returns what each of them is, [count]."""
    if not path.exists():
        texts, part = Texts(), path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as stream:
            for number in range(count):
                _, prompt, response = texts.record(number)
                stream.write(json.dumps({"prompt": prompt, "response": response, "number": number}) + "\n")
        part.rename(path)
    return np.array([Texts.planted(number) for number in range(count)], dtype=np.int8)


def prepare(source: Path, directory: Path, resume: bool) -> None:
    """In a process of its own: its memory is measured, and it may be killed."""
    from launch.programs import prepare as program

    sys.exit(
        program.main(
            [
                f"data.path={source}",
                f"hydra.run.dir={directory}",
                "data.name=planted",
                "data.fields={number: number}",
                "filter.personal_data=keep",
                f"resume={str(resume).lower()}",
            ]
        )
    )


def run(source: Path, directory: Path, resume: bool = False, kill_after: int | None = None) -> bool:
    """Whether it came to an end.

    Args:
        kill_after: parts after which it is killed; `None`: it is left alone.
    """
    child = multiprocessing.get_context("spawn").Process(target=prepare, args=(source, directory, resume))
    child.start()
    while child.is_alive():
        child.join(0.2)
        if kill_after is not None and len(list(directory.glob("parts/*.json"))) >= kill_after and child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            return False
    if child.exitcode:
        sys.exit(f"prepare.py ended with {child.exitcode}")
    return True


def kept_numbers(directory: Path) -> list[int]:
    """The numbers of the records that are left."""
    found = []
    for file in sorted(directory.glob("*.jsonl")):
        with file.open(encoding="utf-8") as stream:
            found += [json.loads(line)["number"] for line in stream]
    return found


def measured(kinds: np.ndarray, kept: list[int]) -> dict[str, Any]:
    """Recall and precision over the planted duplicates; what merely looks like one counts against precision."""
    removed = np.ones(len(kinds), dtype=bool)
    removed[kept] = False
    planted = (kinds == EXACT) | (kinds == NEAR)
    return {
        "records": len(kinds),
        "removed": int(removed.sum()),
        "recall_exact": float(removed[kinds == EXACT].mean()),
        "recall_near": float(removed[kinds == NEAR].mean()),
        "recall": float(removed[planted].mean()),
        "precision": float(planted[removed].mean()),
        "unlike_removed": int(removed[kinds == UNLIKE].sum()),
    }


def bytes_of(directory: Path) -> dict[str, str]:
    """Hashes of all that a preparation leaves but for what tells the time."""
    names = ("*.jsonl", "parquet/*", "card.json", "README.md")
    files = sorted(file for name in names for file in directory.glob(name))
    return {file.relative_to(directory).as_posix(): file_sha256(file) for file in files}


def main() -> None:
    """Generate, prepare, measure; with `--kills`, prepare again in pieces and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=0, help="how often a second preparation is killed")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    # The same command again continues: a long benchmark may be stopped.
    source, whole = given.work / f"planted-{given.records}.jsonl", given.work / "whole"
    began = time.monotonic()
    kinds = generate(source, given.records)
    size, seconds = source.stat().st_size / 1e9, time.monotonic() - began
    print(f"{given.records:,} records, {size:.2f} GB, in {seconds:.0f} s", flush=True)
    run(source, whole, whole.exists())
    summary = Summary.read(whole)
    found = measured(kinds, kept_numbers(whole))
    found |= {name: round(value, 1) for name, value in summary.final.items() if name.startswith("seconds_")}
    found["peak_gigabytes"] = round((summary.peak_memory_bytes or 0) / 1e9, 2)
    if given.kills:
        pieces, parts = given.work / "pieces", -(-given.records // 10_000)
        for number in range(given.kills):
            after = 1 + number * parts // given.kills
            if run(source, pieces, number > 0, after):
                break
        run(source, pieces, True)
        found["equal_after_kills"] = bytes_of(pieces) == bytes_of(whole)
        found["files_compared"] = len(bytes_of(whole))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
