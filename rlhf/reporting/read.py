"""What lies in a run directory, as plain tables; what is missing or cut short is left out."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from rlhf.data.assistant import judge
from rlhf.data.records import Prompt

KNOWN_TURNS = 2


def read_rows(path: Path) -> list[dict[str, float]]:
    """`metrics.csv`: numbers by column, empty cells and what is not finite left out; empty without the file."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
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
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def read_samples(directory: Path) -> list[dict[str, Any]]:
    """`samples.jsonl` of a run, each with `gold` and `kind` where the embedded task's judge knows the prompt."""
    samples = [s for s in read_lines(directory / "samples.jsonl") if {"step", "prompt", "response"} <= s.keys()]
    for sample in samples:
        sample.setdefault("tokens", len(str(sample["response"]).split()))
        sample |= gold(sample["prompt"], str(sample["response"]))
    return samples


def gold(turns: Any, response: str) -> dict[str, Any]:
    """The gold judge's score (0 to 10) and the kind of the prompt; empty where it has no opinion."""
    prompt = Prompt(tuple((str(turn[0]), str(turn[1])) for turn in turns if len(turn) == KNOWN_TURNS))
    verdict = judge(prompt, response)
    return {} if verdict is None else {"gold": verdict.score, "kind": verdict.kind}
