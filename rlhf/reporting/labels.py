"""What sets runs apart, and the names that follow from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rlhf.reporting.contents import Material, RunData

SILENT = {
    "resume",
    "logger",
    "callbacks",
    "strategy",
    "seed",
    "data.name",
    "model.name",
    "algo.name",
    "rollout.max_rows",
    *(f"train.{name}_every" for name in ("log", "val", "checkpoint")),
    *(f"train.{name}" for name in ("samples", "keep_checkpoints", "val_batches", "val_prompts", "objective")),
}
"""Keys, or sections, that set apart no two lines of a comparison; `seed` is what is averaged over."""
PARENTS = ("model.init", "algo.reward_model", "data.path")
"""Keys that name other runs: where each seed has parents of its own, they set nothing apart either."""
RUN_NAME = re.compile(r".*-([0-9a-f]{8})")
"""Of a run's directory, see `conf/directories.yaml`."""
MAX_PARTS = 4
"""Settings that a label can name and still be read."""
AMBIGUOUS = ("seed", "path", "name")
"""Last parts of keys that say too little alone."""


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
                # The table of differences tells what it stands for.
                parts = [first.setdefault(tuple(parts), run.summary.id)]
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


def brief(name: str) -> str:
    """The last part of a dotted key, or all of it where that says too little."""
    last = name.rsplit(".", 1)[-1]
    return name if last in AMBIGUOUS else last


def shown(value: Any) -> str:
    """A setting's value, short; of a path its last part, of a run's directory its id."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(shown(item) for item in value)
    text = str(value)
    if "/" not in text:
        return text
    last = text.rstrip("/").rsplit("/", 1)[-1]
    return match[1] if (match := RUN_NAME.fullmatch(last)) else last
