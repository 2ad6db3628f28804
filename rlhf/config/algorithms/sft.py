"""Supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig
from rlhf.config.keys import key


@dataclass
class SFTConfig(AlgoConfig):
    """Supervised fine-tuning on demonstrations (Ouyang et al. 2022)."""

    module: ClassVar[str] = "lightning_modules.sft:SFTModule"
    starts_from: ClassVar[str | None] = "pretrain"

    name: str = key("sft", "algorithm", choices=("sft",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="Ouyang et al. 2022, C.1: 9.65e-6 at 1.3B")
