"""What a report is about: runs and evaluations, found below one path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlhf.errors import DataError, ParentError
from rlhf.evaluation.findings import Finding
from rlhf.evaluation.symptoms import collapse, forgotten, symptoms
from rlhf.reporting.read import read_lines, read_rows, read_samples
from rlhf.runs import Summary, all_runs
from rlhf.runs.search import read_config

TRAINED = ("pretrain", "sft", "reward", "dpo", "ppo")
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
    *(f"train.{name}" for name in ("samples", "keep_checkpoints", "val_batches", "val_prompts")),
}
"""Keys, or sections, that set apart no two lines of a comparison; `seed` is what is averaged over."""
PARENTS = ("model.init", "algo.reward_model", "data.path")
"""Keys that name other runs: where each seed has parents of its own, they set nothing apart either."""
RUN_NAME = re.compile(r".*-([0-9a-f]{8})")
"""Of a run's directory, see `conf/directories.yaml`."""
AMBIGUOUS = ("seed", "path", "name")
"""Last parts of keys that say too little alone."""


@dataclass
class RunData:
    """A training run as it lies on disk.

    Attributes:
        label: what sets it apart from the other runs of the report; `name` has the seed too.
        settings: dotted keys with their values.
    """

    path: Path
    summary: Summary
    config: dict[str, Any]
    rows: list[dict[str, float]]
    samples: list[dict[str, Any]]
    label: str = ""
    name: str = ""

    @property
    def algo(self) -> str:
        return self.summary.algo

    @property
    def settings(self) -> dict[str, Any]:
        return dict(flat(self.config))

    def findings(self) -> list[Finding]:
        return symptoms(self.rows, self.samples, self.summary.final)


@dataclass
class EvaluationData:
    """A finished comparison as it lies on disk: `evaluation.json`, `answers.jsonl`."""

    path: Path
    summary: Summary | None
    config: dict[str, Any]
    record: dict[str, Any]
    answers: list[dict[str, Any]]

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        models: dict[str, dict[str, Any]] = self.record.get("models", {})
        return models

    def values(self, model: str, name: str) -> list[float]:
        """A number of each answer of a model (`score`, `reward`, `tokens`), where there is one."""
        found = [line.get("answers", {}).get(model, {}).get(name) for line in self.answers]
        return [float(value) for value in found if isinstance(value, int | float)]

    def findings(self) -> list[Finding]:
        """Symptoms of finished models, beside the model that KL is measured from."""
        reference = str(self.record.get("reference"))
        start = self.models.get(reference, {})
        texts = {name: self._texts(name) for name in self.models}
        found: list[Finding] = []
        for name, metrics in self.models.items():
            before, now = start.get("bits_per_byte"), metrics.get("bits_per_byte")
            if before and now:
                found += forgotten(before, now, None, name)
            found += collapse(texts[name], texts.get(reference, []), None, name)
        return found

    def _texts(self, name: str) -> list[str]:
        return [str(line["answers"][name]["response"]) for line in self.answers if name in line.get("answers", {})]


@dataclass
class Material:
    """Everything that a report shows.

    Attributes:
        failed: runs that did not finish, with what they ended with.
        varied: keys by which the runs of a stage differ, with all their values.
    """

    kind: Literal["run", "sweep", "evaluation"]
    path: Path
    runs: list[RunData] = field(default_factory=list)
    evaluations: list[EvaluationData] = field(default_factory=list)
    failed: list[tuple[Path, Summary]] = field(default_factory=list)
    varied: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def evaluation(self) -> EvaluationData | None:
        """The newest one."""
        return self.evaluations[-1] if self.evaluations else None

    def groups(self) -> dict[str, list[RunData]]:
        """Runs that differ in nothing but the seed, by label."""
        found: dict[str, list[RunData]] = {}
        for run in self.runs:
            found.setdefault(run.label, []).append(run)
        return found


def gather(path: Path) -> Material:
    """Read a run, an evaluation, or everything below a folder.

    Raises:
        DataError: there is nothing that could be shown.
    """
    path = path.absolute()
    if path.is_file() and path.name in ("evaluation.json", "summary.json"):
        path = path.parent
    if not path.is_dir():
        raise DataError(f"path: {path} is not a folder; pass a run, an evaluation, or a folder that holds such")
    if (path / "evaluation.json").exists():
        evaluation = read_evaluation(path)
        material = Material("evaluation", path, list(_runs_of(evaluation)), [evaluation])
    elif (path / "summary.json").exists():
        material = Material("run", path, [read_run(path)])
    else:
        material = _below(path)
    _label(material)
    return material


def _below(path: Path) -> Material:
    material = Material("sweep", path)
    for folder, summary in sorted(all_runs(path), key=lambda found: found[1].started_at):
        if (folder / "evaluation.json").exists():
            material.evaluations.append(read_evaluation(folder))
        elif summary.algo in TRAINED:
            run = read_run(folder)
            if summary.status != "finished":
                material.failed.append((folder, summary))
            if run.rows:
                material.runs.append(run)
    if not material.runs and not material.evaluations and not material.failed:
        raise DataError(
            f"path: {path} holds no run and no evaluation; they lie in outputs/ after train.py, or evaluate.py"
        )
    return material


def read_run(path: Path) -> RunData:
    """A run directory.

    Raises:
        DataError: it is none that was trained.
    """
    try:
        summary = Summary.read(path)
    except ParentError as error:
        raise DataError(f"path: {error}") from error
    if summary.algo not in TRAINED:
        raise DataError(f"path: {path} is a run of {summary.algo}.py, which has no report; pass a trained run")
    return RunData(path, summary, read_config(path), read_rows(path / "metrics.csv"), read_samples(path))


def read_evaluation(path: Path) -> EvaluationData:
    """An evaluation's directory.

    Raises:
        DataError: `evaluation.json` can't be understood.
    """
    file = path / "evaluation.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(record["models"], dict)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DataError(f"{file}: not an evaluation that can be read: {error}") from error
    try:
        summary = Summary.read(path)
    except ParentError:
        summary = None
    return EvaluationData(path, summary, read_config(path), record, read_lines(path / "answers.jsonl"))


def _runs_of(evaluation: EvaluationData) -> Iterator[RunData]:
    """The runs that the compared models, and the reward model, came from, where they are still there."""
    folders = [str(model.get("run", "")) for model in evaluation.models.values()]
    parents = evaluation.summary.parents if evaluation.summary is not None else {}
    folders += [str(parent.get("directory", "")) for name, parent in parents.items() if "reward_model" in name]
    for folder in dict.fromkeys(folder for folder in folders if folder):
        if (Path(folder) / "metrics.csv").exists():
            try:
                yield read_run(Path(folder))
            except DataError:
                continue


def _label(material: Material) -> None:
    """Name runs by what sets them apart: the stage, the keys that differ within it, and the seed."""
    given = {str(model.get("run")): name for e in material.evaluations for name, model in e.models.items()}
    for algo in {run.algo: None for run in material.runs}:
        runs = [run for run in material.runs if run.algo == algo]
        differ = varied(runs)
        material.varied |= {name: values for name, values in differ.items() if name not in material.varied}
        seeds = {run.summary.seed for run in runs}
        for run in runs:
            settings = run.settings
            parts = [f"{brief(name)}={shown(settings.get(name))}" for name in differ]
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


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(value: Any) -> str:
    """A setting's value, short; of a path its last part, of a run's directory its id."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if "/" not in text:
        return text
    last = text.rstrip("/").rsplit("/", 1)[-1]
    return match[1] if (match := RUN_NAME.fullmatch(last)) else last
