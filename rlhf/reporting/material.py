"""What a report is about: runs and evaluations, found below one path."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlhf.config import VERBS
from rlhf.errors import DataError, ParentError
from rlhf.evaluation.findings import Finding
from rlhf.evaluation.symptoms import collapse, forgotten, symptoms
from rlhf.reporting.evaluation_record import AnswerLine, checked_evaluation
from rlhf.reporting.labels import flat, label_runs
from rlhf.reporting.read import read_lines, read_rows, read_samples
from rlhf.runs import Summary, all_runs
from rlhf.runs.search import read_config
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.shapes import fits

log = logging.getLogger("rlhf")


def is_trained(summary: Summary) -> bool:
    """Whether something was trained: `algo` of other runs is the verb. An algorithm may be of a package that is not
    here any more."""
    return summary.algo not in VERBS


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
        found = [line["answers"].get(model, {}).get(name) for line in self.answers]
        return [float(value) for value in found if fits(value, float)]

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
        return [str(line["answers"][name]["response"]) for line in self.answers if name in line["answers"]]


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
        """Runs that differ in nothing but the seed, by label; finished ones are not averaged with others."""
        found: dict[str, list[RunData]] = {}
        for run in self.runs:
            found.setdefault(run.label, []).append(run)
        finished = {name: [run for run in runs if run.summary.status == "finished"] for name, runs in found.items()}
        return {name: finished[name] or runs for name, runs in found.items()}


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
    label_runs(material)
    return material


def _below(path: Path) -> Material:
    material = Material("sweep", path)
    for folder, summary in sorted(all_runs(path), key=lambda found: found[1].started_at):
        if (folder / "evaluation.json").exists():
            try:
                material.evaluations.append(read_evaluation(folder))
            except DataError as error:
                log.warning("%s; left out", error)
        elif is_trained(summary):
            try:
                run = read_run(folder)
            except DataError:
                continue  # it changed since
            if summary.status != "finished":
                material.failed.append((folder, summary))
            if run.rows:
                material.runs.append(run)
    if not material.runs and not material.evaluations and not material.failed:
        raise DataError(f"path: {path} holds neither runs nor evaluations; pass a folder below outputs/")
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
    if not is_trained(summary):
        raise DataError(f"path: {path} is a run of {summary.algo}.py, which has no report; pass a trained run")
    return RunData(path, summary, read_config(path), read_rows(path / "metrics.csv"), read_samples(path))


def read_evaluation(path: Path) -> EvaluationData:
    """An evaluation's directory.

    Raises:
        DataError: `evaluation.json` can't be understood.
    """
    file = path / "evaluation.json"
    try:
        record = checked_evaluation(read_json(file))
    except (OSError, Unreadable) as error:
        raise DataError(f"{file}: not an evaluation that can be read: {error}") from error
    try:
        summary = Summary.read(path)
    except ParentError:
        summary = None
    answers = [line for line in read_lines(path / "answers.jsonl") if fits(line, AnswerLine)]
    return EvaluationData(path, summary, read_config(path), record, answers)


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
