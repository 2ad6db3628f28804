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


class Texts:
    """Record `i` as a function of `i` alone."""

    def __init__(self) -> None:
        self.words = np.array(words(VOCABULARY))
        weight = 1 / np.arange(2, VOCABULARY + 2)
        self.sums = np.cumsum(weight / weight.sum())

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Word numbers by frequency, [count]."""
        return np.minimum(np.searchsorted(self.sums, generator.random(count)), VOCABULARY - 1)

    def original(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Words of the prompt and of the answer."""
        generator = np.random.Generator(np.random.PCG64([1, number]))
        return self.draw(generator, int(generator.integers(8, 30))), self.draw(
            generator, int(generator.integers(30, 120))
        )

    @staticmethod
    def planted(number: int) -> tuple[int, np.random.Generator]:
        """What a record is, 0 for an original, and what draws the rest of it."""
        generator = np.random.Generator(np.random.PCG64([2, number]))
        return max(0, int(generator.integers(20)) - 16) if number > 100 else 0, generator

    def record(self, number: int) -> tuple[int, str, str]:
        """What it is, its prompt and its answer."""
        kind, generator = self.planted(number)
        twin = number
        while kind and (twin == number or self.planted(twin)[0]):
            twin = int(generator.integers(number))
        prompt, answer = self.original(twin)
        if kind in (NEAR, UNLIKE):
            changes = max(1, len(answer) // (50 if kind == NEAR else 4))
            places = generator.choice(len(answer), changes, replace=False)
            answer[places] = generator.integers(VOCABULARY // 2, VOCABULARY, changes)
        asked, said = " ".join(self.words[prompt]), " ".join(self.words[answer])
        return kind, f"{asked.capitalize()}?", f"  {said}.\r\n" if kind == EXACT else f"{said}."


def generate(path: Path, count: int) -> np.ndarray:
    """Write the records; returns what each of them is, [count]."""
    texts = Texts()
    kinds = np.zeros(count, dtype=np.int8)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            kind, prompt, response = texts.record(number)
            kinds[number] = kind
            stream.write(json.dumps({"prompt": prompt, "response": response, "number": number}) + "\n")
    return kinds


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
    source, whole = given.work / "planted.jsonl", given.work / "whole"
    began = time.monotonic()
    kinds = generate(source, given.records)
    size, seconds = source.stat().st_size / 1e9, time.monotonic() - began
    print(f"{given.records:,} records, {size:.2f} GB, in {seconds:.0f} s", flush=True)
    run(source, whole)
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
