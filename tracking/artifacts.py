"""A run's artifacts in Weights & Biases, with what they were made from, and its end there: for every verb."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import lightning as L

from rlhf.config import CollectConfig, DataConfig, EvaluateConfig, PrepareConfig, TrainConfig, of_scorers
from rlhf.data.files.prepared import cards_of
from rlhf.data.files.values import data_files, file_sha256
from rlhf.errors import ParentError
from rlhf.runs import Parent, Run, Summary
from tracking.wandb_tables import attempt, wandb_runs

Logged: TypeAlias = TrainConfig | CollectConfig | EvaluateConfig | PrepareConfig
"""Configurations of the verbs that leave a W&B run."""
Maker: TypeAlias = Callable[[bool], Any]
"""The artifact that a run made, with its files or without."""


def close_open_run() -> None:
    """A run that failed before this one, as in a sweep, would otherwise continue under this one's name."""
    if (wandb := sys.modules.get("wandb")) is not None and getattr(wandb, "run", None) is not None:
        wandb.run.finish(exit_code=1)


def log_lineage(trainer: L.Trainer, config: TrainConfig, run: Run) -> None:
    """What a training run used, then the model that it made; then the W&B run is closed."""
    made = Parent("run", run.dir, run.summary.model_sha256)
    for wandb_run in wandb_runs(trainer):
        log_artifacts(wandb_run, config, run, lambda files: model_artifact(made, run.summary, files))
        attempt("the end of the run", wandb_run.finish)


def log_artifacts(wandb_run: Any, config: Logged, run: Run, made: Maker) -> None:
    """Log what a run used, its data and all of its parents, then what it made; as `logger.artifacts` says."""
    if config.logger.artifacts != "off":
        attempt("artifacts", _log_artifacts, wandb_run, config, run, config.logger.artifacts == "files", made)


def _log_artifacts(wandb_run: Any, config: Logged, run: Run, files: bool, made: Maker) -> None:
    used = data_artifacts(config.data, files)
    used += [model_artifact(parent, summary, files) for parent, summary in parents_of(run)]
    # A model may be compared under two names.
    for artifact in {artifact.name: artifact for artifact in used}.values():
        # As `use_artifact` does with an artifact that is not there yet, but without waiting for the server, and offline
        # too: what is already known by this content gets no new version.
        wandb_run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)
    wandb_run.log_artifact(made(files))


def parents_of(run: Run) -> Iterator[tuple[Parent, Summary | None]]:
    """The weights that a run used, with the summaries of the runs that made them (`None`: a folder, or of the hub)."""
    for parent in run.parents.values():
        if parent.kind == "random" or parent.source is None:
            continue
        summary = None
        if parent.kind == "run" and parent.dir is not None:
            try:
                summary = Summary.read(parent.dir)
            except ParentError:
                continue  # moved since
        yield parent, summary


def model_artifact(parent: Parent, summary: Summary | None, files: bool = False) -> Any:
    """Weights by their hash: the run that makes them and the run that uses them describe them alike.

    Args:
        summary: of the run that made them; `None`: a folder, or weights of the hub.
        files: the export itself, not only its card.
    """
    if summary is not None:
        name, kind = f"{summary.algo}-{summary.id}", "reward-model" if summary.algo in of_scorers() else "model"
        facts = {"algo": summary.algo, "id": summary.id, "model": summary.model, "data": summary.data}
    else:
        label = parent.dir.name if parent.dir is not None else str(parent.name)
        name, kind, facts = f"{_safe(label)}-{(parent.sha256 or 'hub')[:8]}", "model", {"model": label}
    card = {**facts, "sha256": parent.sha256}
    folder = Path(str(parent.source)) if files and parent.dir is not None else None
    exported = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()} if folder is not None else {}
    return make_artifact(name, kind, card, {"directory": str(parent.dir or parent.name)}, exported)


def data_artifacts(data: DataConfig, files: bool = False) -> list[Any]:
    """Examples by their hash, an artifact for each path; of the embedded task by its seed, of the hub by the name."""
    return [data_artifact(data, files, path) for path in data.paths] or [data_artifact(data, files)]


def data_artifact(data: DataConfig, files: bool = False, path: str | None = None) -> Any:
    """What one of the paths holds, the first if none is named, or the embedded task. Prepared data name their card."""
    path = path or next(iter(data.paths), None)
    if path is not None and data.reads_locally(path):
        cards = {f"card_{name}": value for card in cards_of([path]) for name, value in card.items() if name != "path"}
        return file_artifact(Path(path), {"name": data.name, **cards}, files)
    card: dict[str, Any] = {"name": data.name, "source": data.source}
    if data.source == "hub":
        card |= {"path": path, "split": data.split, "subset": data.subset}
    else:
        card["seed"] = data.seed
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    return make_artifact(f"{data.name}-{digest[:8]}", "dataset", card, {})


def file_artifact(path: Path, more: Mapping[str, Any], files: bool = False) -> Any:
    """A data file, or a folder of them, by its content alone: who reads it later may call it by another name.

    Args:
        more: what else there is to say of it.
        files: the files themselves, not only the card.
    """
    digest = file_sha256(path)
    root = path if path.is_dir() else path.parent
    content = {file.relative_to(root).as_posix(): file for file in data_files(path)} if files else {}
    return make_artifact(f"file-{digest[:8]}", "dataset", {"sha256": digest}, {**more, "path": str(path)}, content)


def make_artifact(
    name: str, kind: str, card: dict[str, Any], more: Mapping[str, Any], files: Mapping[str, Path] | None = None
) -> Any:
    """A card (small, and equal for equal content), and files by the names that they have in the artifact.

    Args:
        more: metadata beside the card, which don't make it another artifact.
    """
    import wandb

    artifact = wandb.Artifact(_safe(name), type=kind, metadata={**card, **more})
    with artifact.new_file("card.json", encoding="utf-8") as stream:
        json.dump(card, stream, indent=2, sort_keys=True, ensure_ascii=False)
    for inside, file in (files or {}).items():
        artifact.add_file(str(file), name=inside)
    return artifact


def _safe(name: str) -> str:
    """W&B takes letters of ASCII, digits and a few signs, 128 of them with what is appended."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)[:100]
