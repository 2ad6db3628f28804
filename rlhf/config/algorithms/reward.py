"""Reward models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rlhf.config.algorithms.base import AlgoConfig, Records
from rlhf.config.keys import key


@dataclass
class RewardConfig(AlgoConfig):
    """Reward model on comparisons, Bradley–Terry loss (Ouyang et al. 2022, equation 1)."""

    module: ClassVar[str] = "lightning_modules.reward:RewardModule"
    learns_from: ClassVar[Records] = "comparisons"
    exports: ClassVar[Literal["policy", "scorer"]] = "scorer"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("reward", "algorithm", choices=("reward",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="Ouyang et al. 2022, C.2: 9e-6")
    center: bool = key(
        True, "shift scores so that chosen responses have mean 0", source="Ouyang et al. 2022, section 3.5"
    )
