"""Sampled answers on disk as they come, so that a full disk, a failing annotator or a kill costs none of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rlhf.runs.files import json_line, writing
from rlhf.storage.inside import no_links
from rlhf.storage.reading import Unreadable, read_json_lines
from rlhf.storage.shapes import fits


class Line(TypedDict):
    """Texts of consecutive prompts from number `start` on, sampled in way number `way`."""

    run: str
    way: int
    start: int
    texts: list[str]


class Kept:
    """Answers of this run and of earlier tries of it.

    Args:
        path: a file of the run; lines of other experiments, and damaged ones, are passed over.
        run: identity of the experiment.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self._found: dict[tuple[int, int], list[str]] = {}
        with contextlib.suppress(OSError, Unreadable):
            for line in read_json_lines(path):
                if fits(line, Line) and line["run"] == run:
                    self._found[line["way"], line["start"]] = line["texts"]

    def find(self, way: int, start: int, count: int) -> list[str] | None:
        """The texts of `count` prompts; `None` where they are not there."""
        texts = self._found.get((way, start))
        return texts if texts is not None and len(texts) == count else None

    def add(self, way: int, start: int, texts: Sequence[str]) -> None:
        """Append at once.

        Raises:
            TrainingError: there is no space; what was appended before is kept.
        """
        line: Line = {"run": self.run, "way": way, "start": start, "texts": list(texts)}
        with writing(self.path), open(self.path, "ab", opener=no_links) as stream:
            # A line that an earlier try could not finish must not swallow this one.
            if stream.tell() and not self._ends_whole():
                stream.write(b"\n")
            stream.write(json_line(line).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def forget(self) -> None:
        """The run has its result; a file that can't be removed is no reason to fail."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"
