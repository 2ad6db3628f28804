"""Exports that `transformers` and vLLM load: safetensors, configuration and tokenizer, written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rlhf.errors import TrainingError
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.loading import PAD_TOKEN

if TYPE_CHECKING:
    from torch import Tensor

    from rlhf.data.tokenizers import Tokenizer


def export(
    model: LanguageModel | ScoreModel,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    state_dict: dict[str, Tensor] | None = None,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write `model` to `folder`.

    Args:
        state_dict: full weights of `model.hf`, where they are gathered from shards; else the model's own.
        facts: further keys of `config.json`.

    Raises:
        TrainingError: the disk is full or the folder can't be written; nothing of the old export is lost.
    """
    config = model.hf.config
    config.tokenizer_fingerprint = tokenizer.fingerprint
    for key, value in (facts or {}).items():
        setattr(config, key, value)
    config.architectures = [type(model.hf).__name__]
    needs_pad = isinstance(model, ScoreModel) and config.pad_token_id == tokenizer.vocab_size
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        model.hf.save_pretrained(part, state_dict=state_dict)
        tokenizer.save(part, pad_token=PAD_TOKEN if needs_pad else None)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        shutil.rmtree(part, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "no space is left on the disk" if full else str(error)
        raise TrainingError(
            f"{folder}: the export could not be written: {reason}; the last checkpoint is whole: "
            "free some space and run the same command with resume=true"
        ) from error
