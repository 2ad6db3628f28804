"""One table over the points of a sweep, however they ended: in the terminal, and as CSV beside the runs."""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.config import algorithms
from rlhf.config.objective import maximised
from rlhf.errors import ParentError
from rlhf.plain_text import csv_cell
from rlhf.reporting.run_files import last_samples
from rlhf.runs import Summary, atomic_write_text
from rlhf.runs.listing import read_config
from rlhf.runs.titles import comparison_title

FILE = "comparison.csv"
MEANS = "comparison-seeds.csv"
SHOWN = ("samples/gold", "samples/kl", "val/score", "val/kl", "val/accuracy", "val/loss")
"""Metrics that the terminal shows beside the objectives, where runs have them."""


@dataclass
class Row:
    """A point: what was chosen for it, and what became of it.

    Attributes:
        chosen: the overrides that differ between points, by key.
        status: of the run; `not started`, where there is none.
        objectives: metrics by which the run is judged.
        final: its last metrics, with means over its last samples.
        summary: all of it, where there is one.
    """

    number: int
    chosen: dict[str, str]
    directory: Path
    status: str = "not started"
    objectives: list[str] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    wall_seconds: float = 0.0
    error: str = ""
    summary: Summary | None = None


def rows_of(points: Mapping[int, tuple[Sequence[str], Path]]) -> list[Row]:
    """A row for each point.

    Args:
        points: overrides that differ, and the directory, by number.
    """
    rows = []
    for number in sorted(points):
        overrides, directory = points[number]
        chosen = dict(item.lstrip("+").split("=", 1) for item in overrides if "=" in item)
        row = Row(number, chosen, directory)
        try:
            summary = Summary.read(directory)
        except ParentError:
            rows.append(row)
            continue
        row.summary, row.status, row.steps = summary, summary.status, summary.steps
        row.final = summary.final | (last_samples(directory) if summary.status == "finished" else {})
        row.wall_seconds, row.error = summary.wall_seconds, summary.error or ""
        given = read_config(directory).get("train", {}).get("objective")
        row.objectives = given or [algorithms()[summary.algo].objective] if summary.algo in algorithms() else []
        rows.append(row)
    return rows


def compare(rows: Sequence[Row], sweep: Path) -> None:
    """Write the tables into the sweep's folder and to the terminal; several seeds of the same choice also as means."""
    keys = _union(row.chosen for row in rows)
    metrics = _union(row.final for row in rows)
    header = ["point", *keys, "status", "steps", *metrics, "wall_seconds", "directory", "error"]
    lines = [
        [
            row.number,
            *(row.chosen.get(key, "") for key in keys),
            row.status,
            row.steps,
            *(row.final.get(name, "") for name in metrics),
            row.wall_seconds,
            os.path.relpath(row.directory, sweep),
            row.error,
        ]
        for row in rows
    ]
    _write(sweep / FILE, header, lines)
    shown = [name for name in _union([*(dict.fromkeys(row.objectives) for row in rows)]) if name in metrics]
    shown += [name for name in SHOWN if name in metrics and name not in shown]
    best = {name: _best(name, [row.final[name] for row in rows if name in row.final]) for name in shown}
    body = [
        [
            str(row.number),
            *(row.chosen.get(key, "") for key in keys),
            row.status,
            str(row.steps),
            *(_cell(row.final.get(name), best[name]) for name in shown),
            _duration(row.wall_seconds),
        ]
        for row in rows
    ]
    _print(["point", *keys, "status", "steps", *shown, "time"], body, _title(rows, keys))
    means = _means(rows, shown)
    if means:
        others = [key for key in keys if key != "seed"]
        columns = [part for name in shown for part in (name, f"{name} ± standard error")]
        _write(sweep / MEANS, [*others, "runs", *columns], [[*choice, n, *_flat(cells)] for choice, n, cells in means])
        _print(
            [*others, "seeds", *shown],
            [[*choice, str(n), *(_mean(cell) for cell in cells)] for choice, n, cells in means],
        )
    print(f"compared: {os.path.relpath(sweep / FILE)}", flush=True)


def _title(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """What is compared, in the words of the report."""
    varied = {key: list(dict.fromkeys(row.chosen[key] for row in rows if key in row.chosen)) for key in keys}
    return comparison_title([row.summary for row in rows if row.summary is not None], varied)


Cell = tuple[float, float] | None
"""A mean with its standard error."""


def _means(rows: Sequence[Row], shown: Sequence[str]) -> list[tuple[tuple[str, ...], int, list[Cell]]]:
    """By choice without the seed: number of finished runs, and a cell for each metric. Empty without several seeds."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    others = [key for key in _union(row.chosen for row in rows) if key != "seed"]
    for row in rows:
        if row.status == "finished" and "seed" in row.chosen:
            groups.setdefault(tuple(row.chosen.get(key, "") for key in others), []).append(row)
    if not any(len(group) > 1 for group in groups.values()):
        return []
    found = []
    for choice, group in groups.items():
        cells: list[Cell] = []
        for name in shown:
            values = [row.final[name] for row in group if name in row.final]
            error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            cells.append((statistics.fmean(values), error) if values else None)
        found.append((choice, len(group), cells))
    return found


def _union(mappings: Iterable[Iterable[str]]) -> list[str]:
    """Keys of all, in the order in which they appear first."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _best(name: str, values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return math.nan
    return max(finite) if maximised(name) else min(finite)


def _cell(value: float | None, best: float) -> object:
    from rlhf.terminal import plain

    if value is None:
        return ""
    return plain(f"{value:.4g}", "bold" if value == best else "")


def _mean(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell[0]:.4g}" + ("" if math.isnan(cell[1]) else f" ± {cell[1]:.2g}")


def _flat(cells: Iterable[Cell]) -> list[object]:
    return [part for cell in cells for part in (cell or ("", ""))]


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _write(path: Path, header: Sequence[object], lines: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*map(csv_cell, line)] for line in (header, *lines))
    atomic_write_text(path, text.getvalue())


def _print(header: Sequence[object], body: Sequence[Sequence[object]], title: str | None = None) -> None:
    from rich import box
    from rich.console import Console

    from rlhf.terminal import table

    options: dict[str, Any] = {"title": title, "title_justify": "left"} if title else {}
    # A file or a pipe has no width of its own; a table broken to 80 columns is no use in it.
    Console(width=None if sys.stdout.isatty() else 200).print(table(header, body, box=box.SIMPLE_HEAD, **options))
