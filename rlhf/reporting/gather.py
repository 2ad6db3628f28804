"""What a report is about: runs and evaluations, found below one path."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from rlhf.config import VERBS
from rlhf.errors import DataError, ParentError
from rlhf.reporting.contents import EvaluationData, Material, RunData
from rlhf.reporting.evaluation_record import AnswerLine, checked_evaluation
from rlhf.reporting.labels import label_runs
from rlhf.reporting.run_files import read_lines, read_rows, read_samples
from rlhf.reporting.spot_check import read_spot_check
from rlhf.runs import Summary, all_runs
from rlhf.runs.listing import read_config
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.shapes import fits

log = logging.getLogger("rlhf")


def is_trained(summary: Summary) -> bool:
    """Whether something was trained: `algo` of other runs is the verb. An algorithm may be of a package that is not
    here any more."""
    return summary.algo not in VERBS


def gather(path: Path) -> Material:
    """Read a run, an evaluation, or everything below a folder.

    Raises:
        DataError: there is nothing that could be shown.
    """
    path = path.absolute()
    if path.is_file() and path.name in ("evaluation.json", "summary.json"):
        path = path.parent
    if not path.is_dir():
        raise DataError(f"path: {path} is not a folder; pass a run, an evaluation, or a folder of them")
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
    rows, samples = read_rows(path / "metrics.csv"), read_samples(path)
    return RunData(path, summary, read_config(path), rows, samples, spot_check=read_spot_check(path))


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
