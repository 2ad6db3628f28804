"""Merging: one model from several finished ones, whose weights are averaged or interpolated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlhf.config import MergeConfig
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import DataError, ParentError
from rlhf.models.files.export import written
from rlhf.models.files.merged import MEAN, change_settings, check_alike, settings, write_merged
from rlhf.models.process_scorer import SEPARATOR
from rlhf.objectives.merging import merge
from rlhf.quiet import quiet_libraries
from rlhf.runs import Run
from rlhf.storage.weights import weights_sha256

log = logging.getLogger("rlhf")

INIT = "merge.init"


def run_merge(config: MergeConfig, run: Run, overrides: list[str]) -> float | None:
    """Write `model/` of the run from the models of its parents.

    Raises:
        ParentError: they can't be merged.
        TrainingError: the disk is full.
    """
    quiet_libraries()
    for parent in run.parents.values():
        log.info("%s", parent.reason)
    folders = {key: Path(str(parent.source)) for key, parent in run.parents.items()}
    check_alike(folders)
    check_one_tokenizer(folders)
    init = folders.pop(INIT, None)
    check_one_reading(folders)
    models, mean = list(folders.values()), merged_mean(config, list(folders.values()), init)
    changes: dict[str, Any] = {} if mean is None else {MEAN: mean}
    if config.merge.dtype != "auto":
        changes["dtype"] = config.merge.dtype
    with written(run.model) as part:
        parameters = write_merged(part, models, init, lambda w, i: combined(config, w, i), dtype=config.merge.dtype)
        if changes:
            change_settings(part, changes)
    final = {"models": float(len(models)), "parameters": float(parameters)}
    run.save(final=final if mean is None else final | {MEAN: round(mean, 6)}, model_sha256=weights_sha256(run.model))
    log.info(
        "model: %.1fM parameters, made of %d, in %s", parameters / 1e6, len(folders) + (init is not None), run.model
    )
    return None


def combined(config: MergeConfig, weights: Sequence[Tensor], init: Tensor | None) -> Tensor:
    """One tensor of weights, as configured."""
    settings = config.merge
    return merge(weights, config.shares(), method=settings.method, init=init, towards_init=settings.towards_init)


def merged_mean(config: MergeConfig, models: Sequence[Path], init: Path | None) -> float | None:
    """`reward_mean` of a merged reward model; `None` where no model has one.

    To first order the scores of averaged weights are the average of the scores, so the means are averaged as they are;
    `slerp` has no angle between numbers, and takes its shares.
    """
    folders = [*models, *([] if init is None else [init])]
    found = [settings(folder).get(MEAN) for folder in folders]
    if all(mean is None for mean in found):
        return None
    means = [torch.tensor(float(mean or 0.0), dtype=torch.float64) for mean in found]
    start = means.pop() if init is not None else None
    method = "task_arithmetic" if config.merge.method == "task_arithmetic" else "linear"
    return float(
        merge(means, config.shares(), method=method, init=start, towards_init=config.merge.towards_init).item()
    )


def check_one_reading(folders: dict[str, Path]) -> None:
    """Refuse reward models of which some score whole answers and others steps: their heads have one shape.

    Raises:
        ParentError: they do, or split answers into steps in different ways.
    """
    marks = {key: settings(folder).get(SEPARATOR) for key, folder in folders.items()}
    first = next(iter(marks))
    for key, mark in marks.items():
        if mark != marks[first]:
            said = {
                where: "whole answers" if found is None else f"steps that end with {found!r}"
                for where, found in marks.items()
            }
            raise ParentError(
                f"{key}: {folders[key]} scores {said[key]}, and {first}, {folders[first]}, {said[first]}; merge reward "
                "models of one kind"
            )


def check_one_tokenizer(folders: dict[str, Path]) -> None:
    """Refuse models that mean different texts by the same token ids.

    Raises:
        ParentError: two tokenizers, or their chat templates, differ, or one can't be read.
    """
    known: dict[str, str] = {}
    for key, folder in folders.items():
        try:
            known[key] = str(
                settings(folder).get("tokenizer_fingerprint") or load_tokenizer("auto", str(folder)).fingerprint
            )
        except DataError as error:
            raise ParentError(f"{key}: {folder} has no tokenizer that can be read ({error})") from error
    first = next(iter(known))
    for key, fingerprint in known.items():
        if fingerprint != known[first]:
            raise ParentError(
                f"{key}: the tokenizer or chat template of {folders[key]} differs from that of {first}, "
                f"{folders[first]}; merge models that were trained with the same one"
            )
