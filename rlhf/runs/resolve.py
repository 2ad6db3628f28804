"""What `model.init`, `algo.reward_model` and their like mean, resolved before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.config import algorithms, of_reward_models, reward_models
from rlhf.errors import ParentError
from rlhf.runs.listing import all_runs, read_config
from rlhf.runs.parents import Parent, export_config, from_given, from_pretrained_name, from_run, is_reward_model
from rlhf.runs.summary import Summary

INSTRUCTED = re.compile(r"(?i)(instruct|chat|sft|dpo|rlhf|[-_]it\b)")
"""Names of weights that have learnt to answer already, as their publishers write them."""


REWARD_MODEL, OTHER_REFERENCE = "algo.reward_model", "algo.reference_model"


def is_reward_model_key(name: str) -> bool:
    """Whether a parent of this dotted key is a reward model of the run, or one of several."""
    return name == REWARD_MODEL or name.startswith(f"{REWARD_MODEL}.")


def find_parent(stage: str, config: Mapping[str, Any], outputs_root: Path) -> Path | None:
    """The newest finished run of `stage` with the same model and tokenizer as `config`, on any data."""
    wanted = _model_of(config)
    found = [
        (summary.finished_at or summary.started_at, path)
        for path, summary in finished_runs(stage, outputs_root)
        if _model_of(read_config(path)) == wanted
    ]
    return max(found)[1] if found else None


def resolve_init(config: Mapping[str, Any], outputs_root: Path) -> Parent:
    """What `model.init` means for this configuration (plain dictionaries).

    Raises:
        ParentError: it names nothing that this stage can start from.
    """
    algo, model = algorithms()[config["algo"]["name"]], config["model"]
    init = model["init"]
    if init == "random":
        return Parent("random", reason="model.init=random")
    if init == "pretrained":
        return from_pretrained_name(model, "model.init=pretrained")
    if init != "auto":
        return from_given("model.init", init, model, reward=algo.exports == "scorer")
    before = algo.starts_from
    run = find_parent(before, config, outputs_root) if before else None
    kind = f"finished {before} run of model={model['name']}"
    if run is not None:
        return from_run("model.init", run, f"model.init=auto: {run}, the newest {kind}")
    missing = f"no {kind} below {outputs_root}" if before else "the first stage"
    if model.get("path"):
        reason = f"model.init=auto: pretrained weights of {model['path']} ({missing})"
        # Preferences between answers teach little to a model that has not learnt to answer.
        is_base = before is not None and algorithms()[before].answers() and not INSTRUCTED.search(str(model["path"]))
        if is_base:
            reason += f"; where they are a base model, run python train.py algo={before} model={model['name']} first"
        return dataclasses.replace(from_pretrained_name(model, reason), warning=is_base)
    if before is None:
        return Parent("random", reason="model.init=auto: random weights, the start of pretraining")
    reason = (
        f"model.init=auto: random weights, since there is {missing}, and none are published; "
        f"python train.py algo={before} model={model['name']} makes better ones"
    )
    return Parent("random", reason=reason, warning=True)


def resolve_reward_models(config: Mapping[str, Any], policy: Parent, outputs_root: Path) -> dict[str, Parent]:
    """What `algo.reward_model` means, by dotted key: that one, or `algo.reward_model.0` and so on for a list.

    Raises:
        ConfigError, ParentError: as `resolve_reward_model`, for one of them.
    """
    members = reward_models(config["algo"]["reward_model"])
    if len(members) == 1:
        single = {**config, "algo": {**config["algo"], "reward_model": members[0]}}
        return {REWARD_MODEL: resolve_reward_model(single, policy, outputs_root)}
    return {
        f"{REWARD_MODEL}.{i}": resolve_reward_model(
            {**config, "algo": {**config["algo"], "reward_model": member}}, policy, outputs_root
        )
        for i, member in enumerate(members)
    }


def resolve_reward_model(config: Mapping[str, Any], policy: Parent, outputs_root: Path) -> Parent:
    """What a single `algo.reward_model` means, for a policy that starts from `policy`.

    Raises:
        ParentError: there is none, or it is not a finished reward model, or its tokenizer is not the policy's.
    """
    given = config["algo"]["reward_model"]
    if given != "auto":
        parent = from_given("algo.reward_model", given, reward=True)
        _check_is_reward_model("algo.reward_model", parent)
        if not _same_tokenizer(config, policy, parent):
            raise ParentError(
                f"algo.reward_model: the tokenizer of {given} differs from the policy's; "
                "pass a reward model that was trained with this tokenizer"
            )
        return parent
    candidates = sorted(
        (
            (summary.finished_at or summary.started_at, path)
            for stage in of_reward_models()
            for path, summary in finished_runs(stage, outputs_root)
        ),
        reverse=True,
    )
    for _, path in candidates:
        parent = from_run("algo.reward_model", path, f"algo.reward_model=auto: {path}, the newest finished reward run")
        if _same_tokenizer(config, policy, parent):
            return parent
    raise ParentError(
        f"algo.reward_model: auto found no finished reward run with the policy's tokenizer below {outputs_root}; "
        f"run python train.py algo=reward model={config['model']['name']} first, or pass algo.reward_model=RUN"
    )


def resolve_source(key: str, given: str, stages: Sequence[str], outputs_root: Path) -> Parent:
    """A finished policy of any model, for verbs that don't train.

    Args:
        key: where it was given, for messages.
        given: a run directory, a model folder, or auto: the newest finished run of one of `stages`.

    Raises:
        ParentError: there is none, or it is a reward model.
    """
    if given != "auto":
        return from_given(key, given)
    found = [
        (summary.finished_at or summary.started_at, path)
        for stage in stages
        for path, summary in finished_runs(stage, outputs_root)
    ]
    if not found:
        raise ParentError(
            f"{key}: auto found no finished run of {' or '.join(stages)} below {outputs_root}; pass {key}=RUN"
        )
    newest = max(found)[1]
    return from_run(key, newest, f"{key}=auto: {newest}, the newest finished run of {' or '.join(stages)}")


def resolve_scorer(key: str, given: str, policy: Parent | None, outputs_root: Path) -> Parent | None:
    """A reward model; with auto, the newest one with the tokenizer of `policy`, or `None` where there is none.

    Raises:
        ParentError: the one that was given is not a reward model.
    """
    ours = export_config(policy).get("tokenizer_fingerprint") if policy is not None else None
    if given != "auto":
        parent = from_given(key, given, reward=True)
        _check_is_reward_model(key, parent)
        return parent  # it reads texts, by a tokenizer of its own
    runs = [run for stage in of_reward_models() for run in finished_runs(stage, outputs_root)]
    for _, path in sorted(((summary.finished_at or "", path) for path, summary in runs), reverse=True):
        parent = from_run(key, path, f"{key}=auto: {path}, the newest finished reward run")
        if ours is not None and export_config(parent).get("tokenizer_fingerprint") == ours:
            return parent
    return None


def finished_runs(stage: str, outputs_root: Path) -> Iterator[tuple[Path, Summary]]:
    for path, summary in all_runs(outputs_root):
        if summary.algo == stage and summary.status == "finished" and (path / "model").is_dir():
            yield path, summary


def _model_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two models the same kind: name, tokenizer, sizes, and where the pretrained weights come from."""
    model = config.get("model", {})
    architecture = json.dumps(model.get("architecture") or {}, sort_keys=True, default=str)
    return model.get("name"), model.get("tokenizer"), model.get("path"), architecture


def _check_is_reward_model(key: str, parent: Parent) -> None:
    content = export_config(parent)
    if not is_reward_model(parent):
        raise ParentError(f"{key}: {parent.dir} is not a reward model; pass a finished algo=reward run")
    names = content.get("id2label")
    labels = len(names) if isinstance(names, dict) and names else 1
    if labels != 1:
        raise ParentError(f"{key}: {parent.dir} has {labels} labels; a reward model has one")


def _same_tokenizer(config: Mapping[str, Any], policy: Parent, reward: Parent) -> bool:
    """By the fingerprints in both exports; where the policy has none yet, by name and origin of the tokenizer.

    A folder that was not exported here has no fingerprint; it is let through, and compared once it is loaded.
    """
    ours, theirs = (export_config(parent).get("tokenizer_fingerprint") for parent in (policy, reward))
    if ours and theirs:
        return bool(ours == theirs)
    if reward.kind != "run" or reward.dir is None:
        return True
    model, other = config["model"], read_config(reward.dir).get("model", {})
    if model["tokenizer"] != other.get("tokenizer"):
        return False
    return model["tokenizer"] != "auto" or model["path"] == other.get("path")
