"""What sets runs apart, and the names that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlhf.reporting.contents import Material, RunData
from rlhf.runs.titles import MAX_PARTS, SILENT, brief, shown

PARENTS = ("model.init", "algo.reward_model", "data.path")
"""Keys that name other runs: where each seed has parents of its own, they set nothing apart either."""


def label_runs(material: Material) -> None:
    """Name runs by what sets them apart: the stage, the keys that differ within it, and the seed."""
    given = {str(model.get("run")): name for e in material.evaluations for name, model in e.models.items()}
    for algo in {run.algo: None for run in material.runs}:
        runs = [run for run in material.runs if run.algo == algo]
        differ = varied(runs)
        material.varied |= {name: values for name, values in differ.items() if name not in material.varied}
        seeds = {run.summary.seed for run in runs}
        first: dict[tuple[str, ...], str] = {}
        for run in runs:
            settings = run.settings
            parts = [f"{brief(name)}={shown(settings.get(name))}" for name in differ]
            if len(parts) > MAX_PARTS:
                # The table of differences tells the rest; the id of the first such run keeps two of them apart.
                parts = [*parts[: MAX_PARTS - 1], f"({first.setdefault(tuple(parts), run.summary.id)})"]
            run.label = " ".join([algo, *parts])
            if material.kind == "evaluation":
                run.label = given.get(str(run.path), run.label)
            run.name = run.label + (f" seed={run.summary.seed}" if len(seeds) > 1 else "")
    _tell_apart(material.runs)


def _tell_apart(runs: Sequence[RunData]) -> None:
    """Runs of one name, such as repetitions, get a number."""
    seen: dict[str, int] = {}
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        if seen[run.name] > 1:
            run.name += f" #{seen[run.name]}"


def varied(runs: Sequence[RunData]) -> dict[str, list[Any]]:
    """Dotted keys whose values differ between runs, with the values in the order in which they first come."""
    tables = [run.settings for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    found: dict[str, list[Any]] = {}
    for name in names:
        if name in SILENT or name.split(".")[0] in SILENT:
            continue
        values = list({repr(table.get(name)): table.get(name) for table in tables}.values())
        if len(values) > 1:
            found[name] = values
    for name in [name for name in found if name in PARENTS]:
        others = [other for other in found if other not in PARENTS]
        cells: dict[tuple[Any, ...], set[str]] = {}
        for run in runs:
            cell = (run.summary.seed, *(repr(run.settings.get(other)) for other in others))
            cells.setdefault(cell, set()).add(repr(run.settings.get(name)))
        if all(len(here) == 1 for here in cells.values()):
            del found[name]
    return found
