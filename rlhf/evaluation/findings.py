"""A symptom with the figures that show it, and the tables in which it is looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, float]
"""One row of `metrics.csv`: numbers by column, `step` among them; a column without a number is left out."""
Sample = Mapping[str, Any]
"""One line of `samples.jsonl`."""
Series = list[tuple[int, float]]
"""(step, value), in the order of the steps."""

MIN_TEXTS = 8
"""Fewer answers say nothing of a policy."""


@dataclass(frozen=True)
class Finding:
    """One symptom. The words for it are in `rlhf/reporting/sentences.py`, what to turn in `rlhf/reporting/remedies.py`.

    Attributes:
        code: which reason; `symptom` groups them (reward_hacking, mode_collapse, forgetting, dead_critic,
            chance_reward_model).
        step: at which it was seen; `None` for a finished model.
        numbers: what the sentence about it shows.
        subject: the run or model that has it, where several are looked at.
        algo: the algorithm of the run, by which remedies are chosen; empty where it is not known.
    """

    symptom: str
    code: str
    step: int | None
    numbers: dict[str, float] = field(default_factory=dict)
    subject: str = ""
    algo: str = ""


def series(rows: Sequence[Row], *names: str) -> Series:
    """The first of these columns that has numbers."""
    for name in names:
        found = [(int(row["step"]), row[name]) for row in rows if name in row and math.isfinite(row[name])]
        if found:
            return found
    return []


def by_step(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """Samples of each evaluation, in the order of the steps."""
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(int(sample["step"]), []).append(sample)
    return dict(sorted(found.items()))
