"""Libraries say less."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Library chatter about things that a user of this lab didn't choose and can't change."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for package in ("lightning", "pytorch_lightning", "transformers", "torch", "huggingface_hub", "wandb", "peft"):
        warnings.filterwarnings("ignore", module=package)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
