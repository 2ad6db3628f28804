"""Adapters of strangers, in peft's format, merged into the model that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf.errors import ParentError


def merge_adapter(hf: Any, folder: Path) -> Any:
    """The plain model that computes what `hf` with this adapter computes; `hf` is changed in place.

    Raises:
        ParentError: the adapter does not fit the model, or can't be merged.
    """
    from peft import PeftConfig, PeftModel

    before = {name: tuple(weight.shape) for name, weight in hf.state_dict().items()}
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.task_type == "CAUSAL_LM":
            config.task_type = None  # or the adapter of a policy could not be the start of a reward model
        adapted: Any = PeftModel.from_pretrained(hf, str(folder), config=config, torch_device="cpu")
        found = adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # an adapter of a stranger may be of any kind and shape
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParentError(
            f"{folder}: the adapter could not be merged into its {hf.config.model_type} ({reason}); merge it where it "
            "was trained, and pass the whole model"
        ) from error
    after = {name: tuple(weight.shape) for name, weight in found.state_dict().items()}
    if before != after:
        raise ParentError(f"{folder}: the adapter changes shapes of its {hf.config.model_type}; pass the whole model")
    return found
