"""Where a stage's weights come from: `model.init` and `algo.reward_model`, resolved before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlhf.errors import ParentError, nearest
from rlhf.runs.identity import weights_sha256
from rlhf.runs.search import all_runs, read_config
from rlhf.runs.summary import FILE as SUMMARY_FILE
from rlhf.runs.summary import Summary

STAGE_BEFORE = {"sft": "pretrain", "reward": "sft", "dpo": "sft", "ppo": "sft"}
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
        here = record["kind"] in ("run", "folder")
        return Parent(
            record["kind"],
            Path(record["directory"]) if here else None,
            record["sha256"],
            record["reason"],
            None if here else record["directory"],
        )

    def record(self) -> dict[str, Any]:
        """As in `summary.json`."""
        directory = str(self.dir) if self.dir is not None else self.name
        return {"kind": self.kind, "directory": directory, "sha256": self.sha256, "reason": self.reason}


def find_parent(stage: str, config: Mapping[str, Any], outputs_root: Path) -> Path | None:
    """The newest finished run of `stage` with the same model and tokenizer as `config`, on any data."""
    wanted = _model_of(config)
    found = [
        (summary.finished_at or summary.started_at, path)
        for path, summary in _finished(stage, outputs_root)
        if _model_of(read_config(path)) == wanted
    ]
    return max(found)[1] if found else None


def resolve_init(config: Mapping[str, Any], outputs_root: Path) -> Parent:
    """What `model.init` means for this configuration (plain dictionaries).

    Raises:
        ParentError: it names nothing that this stage can start from.
    """
    stage, model = config["algo"]["name"], config["model"]
    init = model["init"]
    if init == "random":
        return Parent("random", reason="model.init=random")
    if init == "pretrained":
        return _pretrained(model, "model.init=pretrained")
    if init != "auto":
        return _given("model.init", init, config, reward=stage == "reward")
    before = STAGE_BEFORE.get(stage)
    run = find_parent(before, config, outputs_root) if before else None
    kind = f"finished {before} run of model={model['name']}"
    if run is not None:
        return _run("model.init", run, f"model.init=auto: {run}, the newest {kind}")
    missing = f"no {kind} below {outputs_root}" if before else "the first stage"
    if model.get("path"):
        return _pretrained(model, f"model.init=auto: pretrained weights of {model['path']} ({missing})")
    if before is None:
        return Parent("random", reason="model.init=auto: random weights, the start of pretraining")
    reason = (
        f"model.init=auto: random weights, since there is {missing}, and none are published; "
        f"python train.py algo={before} model={model['name']} makes better ones"
    )
    return Parent("random", reason=reason, warning=True)


def resolve_reward_model(config: Mapping[str, Any], policy: Parent, outputs_root: Path) -> Parent:
    """What `algo.reward_model` means, for a policy that starts from `policy`.

    Raises:
        ParentError: there is none, or it is not a finished reward model, or its tokenizer is not the policy's.
    """
    given = config["algo"]["reward_model"]
    if given != "auto":
        parent = _given("algo.reward_model", given, config, reward=True)
        _check_is_reward_model(parent)
        if not _same_tokenizer(config, policy, parent):
            raise ParentError(
                f"algo.reward_model: the tokenizer of {given} differs from the policy's; "
                "pass a reward model that was trained with this tokenizer"
            )
        return parent
    candidates = sorted(
        ((summary.finished_at or summary.started_at, path) for path, summary in _finished("reward", outputs_root)),
        reverse=True,
    )
    for _, path in candidates:
        parent = _run("algo.reward_model", path, f"algo.reward_model=auto: {path}, the newest finished reward run")
        if _same_tokenizer(config, policy, parent):
            return parent
    raise ParentError(
        f"algo.reward_model: auto found no finished reward run with the policy's tokenizer below {outputs_root}; "
        f"run python train.py algo=reward model={config['model']['name']} first, or pass algo.reward_model=RUN"
    )


def _given(key: str, given: str, config: Mapping[str, Any], *, reward: bool) -> Parent:
    """A run directory or model folder that the user named."""
    path = Path(given)
    reason = f"{key}={given}"
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        words = WORDS if key == "model.init" else ("auto",)
        allowed = ", ".join((*words, "a run directory or a model folder"))
        raise ParentError(f"{key}: {given} does not exist; pass {allowed}{nearest(path.name, [*beside, *words])}")
    if (path / SUMMARY_FILE).exists():
        parent = _run(key, path, reason)
        summary = Summary.read(path)
        if summary.algo == "reward" and not reward:
            raise ParentError(f"{key}: {given} is a reward model, not a policy; pass a pretrain, sft, dpo or ppo run")
        if key == "model.init" and summary.model != config["model"]["name"]:
            raise ParentError(
                f"{key}: {given} holds model={summary.model}, but this run is model={config['model']['name']}; "
                f"pass model={summary.model}"
            )
    elif (path / "config.json").is_file():
        parent = _folder(key, path, reason)
    else:
        raise ParentError(f"{key}: {given} is neither a run directory (summary.json) nor a model folder (config.json)")
    if not reward and _is_reward_model(parent):
        raise ParentError(f"{key}: {given} is a reward model, not a policy; pass a causal language model")
    if key == "model.init":
        _check_architecture(key, given, parent, config["model"])
    return parent


def _check_architecture(key: str, given: str, parent: Parent, model: Mapping[str, Any]) -> None:
    """Sizes that the configuration names and the weights' config.json contradicts."""
    found = _export_config(parent)
    for name, wanted in (model.get("architecture") or {}).items():
        if name in found and found[name] != wanted and name not in ("rope_theta", "rms_norm_eps"):
            raise ParentError(
                f"{key}: {given} has {name}={found[name]}, but model={model['name']} has {wanted}; "
                "pass the model that it was made with, or model=hf model.path=FOLDER for any other"
            )


def _pretrained(model: Mapping[str, Any], reason: str) -> Parent:
    if Path(model["path"]).is_dir():
        return _folder("model.path", Path(model["path"]), reason)
    return Parent("pretrained", reason=reason, name=model["path"])


def _run(key: str, directory: Path, reason: str) -> Parent:
    directory = directory.absolute()
    summary = Summary.read(directory)
    if summary.status != "finished":
        raise ParentError(
            f"{key}: {directory} is {summary.status}, not finished; finish it with resume=true, or pass another run"
        )
    if not list((directory / "model").glob("*.safetensors")):
        raise ParentError(f"{key}: {directory} is finished, but its model folder holds no .safetensors weights")
    return Parent("run", directory, summary.model_sha256 or weights_sha256(directory / "model"), reason)


def _folder(key: str, directory: Path, reason: str) -> Parent:
    directory = directory.absolute()
    if not list(directory.glob("*.safetensors")):
        raise ParentError(
            f"{key}: {directory} holds no .safetensors weights; pickled ones are not loaded, "
            "convert them with save_pretrained first"
        )
    return Parent("folder", directory, weights_sha256(directory), reason)


def _finished(stage: str, outputs_root: Path) -> Iterator[tuple[Path, Summary]]:
    for path, summary in all_runs(outputs_root):
        if summary.algo == stage and summary.status == "finished" and (path / "model").is_dir():
            yield path, summary


def _model_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two models the same kind: name, tokenizer, sizes, and where the pretrained weights come from."""
    model = config.get("model", {})
    architecture = json.dumps(model.get("architecture") or {}, sort_keys=True)
    return model.get("name"), model.get("tokenizer"), model.get("path"), architecture


@cache
def _read_json(path: Path, changed: int) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParentError(f"{path}: can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ParentError(f"{path}: must hold a JSON object")
    return content


def _export_config(parent: Parent) -> dict[str, Any]:
    """`config.json` of the weights; empty for those that aren't on this machine."""
    if parent.dir is None:
        return {}
    path = Path(str(parent.source)) / "config.json"
    return _read_json(path, path.stat().st_mtime_ns) if path.exists() else {}


def _is_reward_model(parent: Parent) -> bool:
    architectures = _export_config(parent).get("architectures") or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def _check_is_reward_model(parent: Parent) -> None:
    content = _export_config(parent)
    if not _is_reward_model(parent):
        raise ParentError(f"algo.reward_model: {parent.dir} is not a reward model; pass a finished algo=reward run")
    labels = len(content.get("id2label") or {0: ""})
    if labels != 1:
        raise ParentError(f"algo.reward_model: {parent.dir} has {labels} labels; a reward model has one")


def _same_tokenizer(config: Mapping[str, Any], policy: Parent, reward: Parent) -> bool:
    """By the fingerprints in both exports; where the policy has none yet, by name and origin of the tokenizer.

    A folder that was not exported here has no fingerprint; it is let through, and compared once it is loaded.
    """
    ours, theirs = (_export_config(parent).get("tokenizer_fingerprint") for parent in (policy, reward))
    if ours and theirs:
        return bool(ours == theirs)
    if reward.kind != "run" or reward.dir is None:
        return True
    model, other = config["model"], read_config(reward.dir).get("model", {})
    if model["tokenizer"] != other.get("tokenizer"):
        return False
    return model["tokenizer"] != "auto" or model["path"] == other.get("path")
