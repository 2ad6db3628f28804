"""Exports that `transformers` and vLLM load: safetensors, configuration and tokenizer, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from rlhf.errors import TrainingError
from rlhf.models.adapters import has_adapter, merged_weights, plain, save_adapter
from rlhf.models.files.loading import PAD_TOKEN, end_at
from rlhf.models.files.precision import export_dtype, in_dtype, is_in
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.storage.disk import disk_fault

if TYPE_CHECKING:
    from torch import Tensor

    from rlhf.data.tokenizers.tokenizer import Tokenizer


def export(
    model: LanguageModel | ScoreModel,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    state_dict: dict[str, Tensor] | None = None,
    facts: dict[str, Any] | None = None,
    stop_ids: tuple[int, ...] = (),
    dtype: torch.dtype | None = None,
) -> None:
    """Write `model` to `folder`, with its adapter merged if it has one.

    Args:
        state_dict: full weights of `model.hf`, where they are gathered from shards; else the model's own.
        facts: further keys of `config.json`.
        stop_ids: the tokens that end a text; empty: those that the model was loaded with.
        dtype: of floating weights; `None`: what the model was read from.

    Raises:
        TrainingError: the disk is full or the folder can't be written; nothing of the old export is lost.
    """
    config = model.hf.config
    config.tokenizer_fingerprint = tokenizer.fingerprint
    for key, value in (facts or {}).items():
        setattr(config, key, value)
    if stop_ids:
        end_at(model.hf, stop_ids)
    # A separate pad token is useless where texts end with it: a scorer was then given another one when loaded.
    own_pad = tokenizer.pad_id not in (None, tokenizer.eos_id) and config.pad_token_id in (None, tokenizer.pad_id)
    with written(folder) as part:
        pad = tokenizer.save(part, pad_token=PAD_TOKEN if isinstance(model, ScoreModel) and not own_pad else None)
        if isinstance(model, ScoreModel):
            config.pad_token_id = pad
        dtype = dtype or export_dtype(model.hf)
        hf = plain(model.hf) if has_adapter(model) else model.hf
        if hf is not model.hf or not is_in(hf, dtype):
            own = model.hf.state_dict() if state_dict is None else state_dict
            weights = own.items() if hf is model.hf else merged_weights(model.hf, own)
            state_dict = in_dtype(hf, weights, dtype, own)
        hf.save_pretrained(part, state_dict=state_dict)
        _say_dtype(part / "config.json", dtype)


def export_adapter(
    model: LanguageModel | ScoreModel, base: str | None, folder: Path, *, state_dict: dict[str, Tensor] | None = None
) -> None:
    """Write a model's adapter alone to `folder`, in peft's own format.

    Args:
        base: name or folder of the weights that it belongs to.
        state_dict: as in `export`.

    Raises:
        TrainingError: as in `export`.
    """
    with written(folder) as part:
        save_adapter(model.hf, part, base, state_dict)


@contextmanager
def written(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` once it is whole."""
    part, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("part", "old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        _make_readable(part)
        _exchange(part, folder, old)
    except Exception as error:  # safetensors and tokenizers wrap a full disk in errors of their own
        shutil.rmtree(part, ignore_errors=True)
        reason = disk_fault(error)
        if reason is None and not isinstance(error, (OSError, SafetensorError)):
            raise
        reason = reason or str(error)
        raise TrainingError(
            f"{folder}: the export could not be written: {reason}; the last checkpoint is whole: "
            "free some space and run the same command with resume=true"
        ) from error


def _exchange(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`. A full folder can't be replaced by a rename, so the old one steps aside."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _say_dtype(file: Path, dtype: torch.dtype) -> None:
    """`save_pretrained` writes down what the model is in, which is not what its weights were written in."""
    name = str(dtype).removeprefix("torch.")
    content = json.loads(file.read_text(encoding="utf-8"))
    before = json.dumps(content)
    for part in (content, *(value for value in content.values() if isinstance(value, dict))):
        if part is content or "dtype" in part:
            part["dtype"] = name
    if json.dumps(content) != before:
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _make_readable(folder: Path) -> None:
    """safetensors writes files for the owner alone; an export is for the whole team, as its settings are."""
    mode = next(folder.glob("*config.json")).stat().st_mode
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)
