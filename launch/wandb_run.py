"""A run's artifacts in Weights & Biases, with what they were made from, and its end there."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.wandb_tables import attempt, wandb_runs
from rlhf.config import DataConfig, TrainConfig
from rlhf.data.files import data_files, file_sha256
from rlhf.errors import ParentError
from rlhf.runs import Parent, Run, Summary


def close_open_run() -> None:
    """A run that failed before this one, as in a sweep, would else go on under this one's name."""
    if (wandb := sys.modules.get("wandb")) is not None and getattr(wandb, "run", None) is not None:
        wandb.run.finish(exit_code=1)


def log_lineage(trainer: L.Trainer, config: TrainConfig, run: Run) -> None:
    """What the run used, then what it made; then the W&B run is closed."""
    for wandb_run in wandb_runs(trainer):
        if config.logger.artifacts != "off":
            attempt("artifacts", _log_artifacts, wandb_run, config, run, config.logger.artifacts == "files")
        attempt("the end of the run", wandb_run.finish)


def _log_artifacts(wandb_run: Any, config: TrainConfig, run: Run, files: bool) -> None:
    for artifact in [data_artifact(config.data, files), *_parents(run, files)]:
        # As `use_artifact` does with an artifact that is not there yet, but without waiting for the server, and offline
        # too: what is already known by this content gets no new version.
        wandb_run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)
    made = Parent("run", run.dir, run.summary.model_sha256)
    wandb_run.log_artifact(model_artifact(made, run.summary, files))


def _parents(run: Run, files: bool) -> list[Any]:
    found = []
    for parent in run.parents.values():
        if parent.kind == "random" or parent.source is None:
            continue
        summary = None
        if parent.kind == "run" and parent.dir is not None:
            try:
                summary = Summary.read(parent.dir)
            except ParentError:
                continue  # moved since
        found.append(model_artifact(parent, summary, files))
    return found


def model_artifact(parent: Parent, summary: Summary | None, files: bool = False) -> Any:
    """Weights by their hash: whoever makes them and whoever uses them describe them alike.

    Args:
        summary: of the run that made them; `None`: a folder, or weights of the hub.
        files: the export itself, not only its card.
    """
    if summary is not None:
        name, kind = f"{summary.algo}-{summary.id}", "reward-model" if summary.algo == "reward" else "model"
        facts = {"algo": summary.algo, "id": summary.id, "model": summary.model, "data": summary.data}
    else:
        label = parent.dir.name if parent.dir is not None else str(parent.name)
        name, kind, facts = f"{_safe(label)}-{(parent.sha256 or 'hub')[:8]}", "model", {"model": label}
    card = {**facts, "sha256": parent.sha256}
    folder = Path(str(parent.source)) if files and parent.dir is not None else None
    return _artifact(name, kind, card, {"directory": str(parent.dir or parent.name)}, folder)


def data_artifact(data: DataConfig, files: bool = False) -> Any:
    """Examples by their hash; of the embedded task by its seed, of a hub data set by its name."""
    card: dict[str, Any] = {"name": data.name, "source": data.source}
    path = None
    if data.is_local:
        path = Path(str(data.path))
        card["sha256"] = file_sha256(path)
    elif data.source == "hub":
        card |= {"path": data.path, "split": data.split, "subset": data.subset}
    else:
        card["seed"] = data.seed
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    more = {"path": str(data.path)} if data.path is not None else {}
    return _artifact(f"{data.name}-{digest[:8]}", "dataset", card, more, path if files else None)


def _artifact(name: str, kind: str, card: dict[str, Any], more: dict[str, Any], path: Path | None) -> Any:
    """A card (small, and equal for equal content), and the files at `path` if they are wanted."""
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata={**card, **more})
    with artifact.new_file("card.json", encoding="utf-8") as stream:
        json.dump(card, stream, indent=2, sort_keys=True, ensure_ascii=False)
    if path is not None:
        root = path if path.is_dir() else path.parent
        for file in sorted(path.iterdir()) if (path / "config.json").exists() else data_files(path):
            if file.is_file():
                artifact.add_file(str(file), name=str(file.relative_to(root)))
    return artifact


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
