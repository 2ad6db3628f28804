"""Weights that a run starts from, as they lie on disk or on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlhf.config import algorithms, of_scorers
from rlhf.errors import ParentError, nearest
from rlhf.runs.summary import FILE as SUMMARY_FILE
from rlhf.runs.summary import Summary
from rlhf.storage.adapter_folder import adapter_sha256, base_of, holds_head
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.weights import weight_files, weights_sha256

WORDS = ("auto", "pretrained", "random")


@dataclass(frozen=True)
class Parent:
    """Weights to start from.

    Attributes:
        kind: a finished run of ours, a model folder, pretrained weights of the hub, or none (random).
        dir: the run directory or model folder; `None` for the other kinds.
        sha256: of the safetensors; `None` where they aren't on this machine.
        reason: why this one, in a sentence for the log.
        name: what the hub calls it.
        warning: whether the reason deserves attention.
    """

    kind: Literal["run", "folder", "pretrained", "random"]
    dir: Path | None = None
    sha256: str | None = None
    reason: str = ""
    name: str | None = None
    warning: bool = False

    @property
    def source(self) -> str | None:
        """What `from_pretrained` takes; `None` for random weights."""
        if self.kind == "run" and self.dir is not None:
            return str(self.dir / "model")
        return str(self.dir) if self.kind == "folder" else self.name

    @property
    def identity(self) -> str:
        """What two runs must share to start from the same weights."""
        return self.sha256 or f"{self.kind} {self.name or ''}".strip()

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Parent:
        """The parent that `record` described."""
        kind, directory = record["kind"], record.get("directory")
        here = kind in ("run", "folder")
        folder = Path(str(directory)) if here else None
        return Parent(kind, folder, record.get("sha256"), record.get("reason", ""), None if here else directory)

    def record(self) -> dict[str, Any]:
        """The entry of `summary.json`."""
        directory = str(self.dir) if self.dir is not None else self.name
        return {"kind": self.kind, "directory": directory, "sha256": self.sha256, "reason": self.reason}


def from_given(key: str, given: str, model: Mapping[str, Any] | None = None, *, reward: bool = False) -> Parent:
    """A run directory or model folder that the user named.

    Args:
        model: what it must be, as in the configuration; `None` where any model will do.
        reward: whether it may be a reward model.

    Raises:
        ParentError: it is not there, unfinished, or of another kind.
    """
    path = Path(given)
    reason = f"{key}={given}"
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        words = WORDS if model is not None else ("auto",)
        allowed = ", ".join((*words, "a run directory or a model folder"))
        raise ParentError(f"{key}: {given} does not exist; pass {allowed}{nearest(path.name, [*beside, *words])}")
    if (path / SUMMARY_FILE).exists():
        parent = from_run(key, path, reason)
        summary = Summary.read(path)
        if not reward and is_reward_model(parent):
            others = ", ".join(name for name in algorithms() if name not in of_scorers())
            raise ParentError(f"{key}: {given} is a reward model, not a policy; pass a run of one of {others}")
        if model is not None and summary.model not in ("", model["name"]):
            raise ParentError(
                f"{key}: {given} holds model={summary.model}, but this run is model={model['name']}; "
                f"pass model={summary.model}"
            )
    elif (path / "config.json").is_file() or base_of(path) is not None:
        parent = from_folder(key, path, reason)
    else:
        raise ParentError(f"{key}: {given} is neither a run directory (summary.json) nor a model folder (config.json)")
    if not reward and is_reward_model(parent):
        raise ParentError(f"{key}: {given} is a reward model, not a policy; pass a causal language model")
    if model is not None:
        _check_architecture(key, given, parent, model)
    return parent


def _check_architecture(key: str, given: str, parent: Parent, model: Mapping[str, Any]) -> None:
    """Sizes that the configuration names and the weights' config.json contradicts."""
    found = export_config(parent)
    for name, wanted in (model.get("architecture") or {}).items():
        if name in found and found[name] != wanted and name not in ("rope_theta", "rms_norm_eps"):
            raise ParentError(
                f"{key}: {given} has {name}={found[name]}, but model={model['name']} has {wanted}; "
                "pass the model that it was made with, or model=hf model.path=FOLDER for any other"
            )


def from_pretrained_name(model: Mapping[str, Any], reason: str) -> Parent:
    if Path(model["path"]).is_dir():
        return from_folder("model.path", Path(model["path"]), reason)
    path = str(model["path"])
    if Path(path).exists():
        raise ParentError(f"model.path: {path} is a file; pass the folder of a model, or OWNER/NAME on the hub")
    if path.startswith(("/", ".")) or path.count("/") > 1:
        raise ParentError(f"model.path: {path} does not exist, and is no OWNER/NAME of the hub; pass a folder")
    return Parent("pretrained", reason=reason, name=model["path"])


def from_run(key: str, directory: Path, reason: str) -> Parent:
    directory = directory.absolute()
    summary = Summary.read(directory)
    if summary.status != "finished":
        raise ParentError(
            f"{key}: {directory} is {summary.status}, not finished; finish it with resume=true, or pass another run"
        )
    if not weight_files(directory / "model"):
        raise ParentError(f"{key}: {directory} is finished, but its model folder holds no .safetensors weights")
    return Parent("run", directory, weights_sha256(directory / "model"), reason)


def from_folder(key: str, directory: Path, reason: str) -> Parent:
    directory = directory.absolute()
    if (base := base_of(directory)) is not None:
        return Parent("folder", directory, adapter_sha256(directory, base), f"{reason}, an adapter merged into {base}")
    if not weight_files(directory):
        raise ParentError(
            f"{key}: {directory} holds no .safetensors weights; pickled ones are not loaded, "
            "convert them with save_pretrained first"
        )
    return Parent("folder", directory, weights_sha256(directory), reason)


@cache
def _read_json(path: Path, changed: int) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, Unreadable) as error:
        raise ParentError(f"{path}: can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ParentError(f"{path}: must hold a JSON object")
    return content


def export_config(parent: Parent) -> dict[str, Any]:
    """`config.json` of the weights; empty for those that aren't on this machine."""
    if parent.dir is None:
        return {}
    path = Path(base_of(Path(str(parent.source))) or str(parent.source)) / "config.json"
    return _read_json(path, path.stat().st_mtime_ns) if path.exists() else {}


def is_reward_model(parent: Parent) -> bool:
    """Whether the weights have a scalar head; that of an adapter lies beside it, on a language model."""
    folder = Path(str(parent.source))
    if parent.kind == "folder" and base_of(folder) is not None and holds_head(folder):
        return True
    architectures = export_config(parent).get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return any(str(name).endswith("ForSequenceClassification") for name in names)
