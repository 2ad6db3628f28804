"""What a sweep passes to the process of a point, and what that returns; `runner.py` is the other end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch.sweeps.runner import ENDING, LIFELINE
from rlhf.runs import Parent
from rlhf.runs.summary import ParentRecord

PARENTS = "RLHF_PARENTS"
"""Holds, as JSON, what the sweep resolved the point's parents to."""


@dataclass
class Handover:
    """Empty for a program that a user started.

    Attributes:
        parents: records of parents by dotted key.
        ending: where to say how it ended.
    """

    parents: dict[str, ParentRecord] = field(default_factory=dict)
    ending: Path | None = None

    @staticmethod
    def take() -> Handover:
        """Take it out of the environment, so that processes which this one starts don't use it."""
        parents, ending, life = (os.environ.pop(name, None) for name in (PARENTS, ENDING, LIFELINE))
        if life is not None:
            threading.Thread(target=_die_at_end_of, args=(int(life),), daemon=True).start()
        return Handover(json.loads(parents) if parents else {}, Path(ending) if ending else None)

    def tell(self, code: int, error: str, value: object) -> None:
        """Write how the program ended to the file that the sweep reads, if there is one."""
        if self.ending is not None:
            self.ending.write_text(json.dumps({"code": code, "error": error, "value": value}), encoding="utf-8")


def variables(parents: Mapping[str, Parent]) -> dict[str, str]:
    """The environment by which `Handover.take` finds these parents."""
    return {PARENTS: json.dumps({name: parent.record() for name, parent in parents.items()})}


def _die_at_end_of(descriptor: int) -> None:
    """A sweep that was killed leaves no point behind that would keep its directory locked."""
    if os.read(descriptor, 1) == b"":
        os._exit(1)
