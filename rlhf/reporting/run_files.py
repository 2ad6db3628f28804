"""What lies in a run directory, as plain tables; what is missing or cut short is left out."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from pathlib import Path
from statistics import fmean
from typing import Any, TypedDict

from rlhf.data.assistant import judge
from rlhf.data.records import Prompt
from rlhf.evaluation.findings import by_step
from rlhf.storage.reading import Unreadable, open_regular, read_json_lines
from rlhf.storage.shapes import fits

KNOWN_TURNS = 2
NUMBERS = ("tokens", "score", "reward", "kl", "gold", "logprob")
"""Of a sample; one that is no finite number is left out."""


def read_rows(path: Path) -> list[dict[str, float]]:
    """`metrics.csv`: numbers by column, empty cells and what is not finite left out; empty without the file."""
    rows: list[dict[str, float]] = []
    # A row that the module can't read ends the table there.
    with (
        contextlib.suppress(OSError, Unreadable, csv.Error),
        io.TextIOWrapper(open_regular(path), encoding="utf-8", errors="replace", newline="") as stream,
    ):
        for cells in csv.DictReader(stream):
            row = {name: value for name, text in cells.items() if name and (value := _number(text)) is not None}
            if "step" in row:
                rows.append(row)
    return rows


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file's objects; lines that are none are left out, and so is a file that is not there."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, Unreadable):
        found.extend(read_json_lines(path))
    return found


def read_samples(directory: Path) -> list[dict[str, Any]]:
    """`samples.jsonl` of a run, each with `gold` and `kind` where the embedded task's judge knows the prompt."""
    samples = read_raw_samples(directory)
    for sample in samples:
        sample.setdefault("tokens", len(str(sample["response"]).split()))
        sample |= gold(sample["prompt"], str(sample["response"]))
    return samples


def read_raw_samples(directory: Path) -> list[dict[str, Any]]:
    """`samples.jsonl` of a run as it stands there, without lines and numbers that can't be understood."""
    samples = [s for s in read_lines(directory / "samples.jsonl") if fits(s, Sample)]
    for sample in samples:
        for name in [name for name in NUMBERS if name in sample and not fits(sample[name], float)]:
            del sample[name]
    return samples


def last_samples(directory: Path) -> dict[str, float]:
    """Means over a run's last samples, where they were measured: `samples/gold` of the judge, `samples/kl` in nats.

    They are the same for every algorithm, whatever it reports of its own.
    """
    groups = by_step(read_samples(directory))
    if not groups:
        return {}
    last = groups[max(groups)]
    found = {name: [float(s[name]) for s in last if isinstance(s.get(name), int | float)] for name in ("gold", "kl")}
    return {f"samples/{name}": fmean(values) for name, values in found.items() if values}


class Sample(TypedDict):
    """What is relied upon of a line of `samples.jsonl`; a prompt is a list of `[role, text]`."""

    step: int
    prompt: list[list[str]]
    response: str


def gold(turns: Any, response: str) -> dict[str, Any]:
    """The gold judge's score (0 to 10) and the kind of the prompt; empty where it has no opinion."""
    try:
        prompt = Prompt(tuple((str(turn[0]), str(turn[1])) for turn in turns if len(turn) == KNOWN_TURNS))
    except ValueError:  # no turns, or roles that are none
        return {}
    verdict = judge(prompt, response)
    return {} if verdict is None else {"gold": verdict.score, "kind": verdict.kind}
