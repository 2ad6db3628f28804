"""Pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig, Records
from rlhf.config.keys import key


@dataclass
class PretrainConfig(AlgoConfig):
    """Next-token prediction on plain text."""

    module: ClassVar[str] = "lightning_modules.sft:PretrainModule"
    learns_from: ClassVar[Records] = "documents"
    starts_from: ClassVar[str | None] = None

    name: str = key("pretrain", "algorithm", choices=("pretrain",))
    lr: float = key(6e-4, "highest learning rate", gt=0, le=1, source="Brown et al. 2020, table 2.1, 125M")
    weight_decay: float = key(
        0.1, "AdamW's weight decay of matrices; biases and norms have none", ge=0, lt=1, source="Brown et al. 2020"
    )
