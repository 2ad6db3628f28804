"""A part of a script, and what it is told. Standard library only: the runner must start at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Skipped(Exception):
    """The part can't run here; the message says why."""


@dataclass(frozen=True)
class Part:
    """One question to the machine.

    Attributes:
        name: as in the JSON file and in `--only`.
        target: `module:function`; the function takes a `Context`, and returns what it found: a dictionary for JSON, in
            which `says` is one line for people, and `wrong` names what is not as it must be.
        seconds: after so many the part is stopped.
    """

    name: str
    target: str
    seconds: float


@dataclass(frozen=True)
class Context:
    """What a part is told.

    Attributes:
        device: `cuda` or `cpu`.
        tiny: a rehearsal: smallest models, two steps each.
        folder: a scratch folder of all parts of a script, for what later parts read.
        out: the folder of the results.
        data: folder with people's comparisons (HH-RLHF transcripts, .jsonl or .jsonl.gz); `None` where there is none.
        models: folder of models that were brought along.
        until: `time.monotonic()` at which the part is stopped.
        note: writes a finding down at once, so that it outlives a part that is stopped.
    """

    device: str
    tiny: bool
    folder: Path
    out: Path
    data: Path | None
    models: Path
    until: float = field(default_factory=lambda: time.monotonic() + 3600)
    note: Callable[[str, Any], None] = lambda name, value: None

    @property
    def left(self) -> float:
        """Seconds until the part is stopped."""
        return self.until - time.monotonic()

    @property
    def accelerator(self) -> str:
        """The value of `strategy.accelerator`."""
        return "gpu" if self.device == "cuda" else "cpu"

    def need_cuda(self, why: str) -> None:
        """Leave the part out on a CPU.

        Raises:
            Skipped: there is no GPU.
        """
        if self.device != "cuda":
            raise Skipped(f"{why} needs a GPU")
