"""Kahneman–Tversky optimisation: labels on single answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import REFERENCE_MODEL, AlgoConfig, Records, Sections
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class KTOConfig(AlgoConfig):
    """KTO: good or bad answers, one label each, against a frozen reference (Ethayarajh et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.kto:KTOModule"
    learns_from: ClassVar[Records] = "labels"
    needs_reference: ClassVar[bool] = True
    rate_as: ClassVar[str | None] = "dpo"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("kto", "algorithm", choices=("kto",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="as in TRL")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="as in TRL",
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="as in TRL")
    beta: float = key(
        0.1, "β, the price of KL to the reference", gt=0, unit="1/nat", source="Ethayarajh et al. 2024, section 4.3"
    )
    loss: str = key(
        "kto",
        "kto (Ethayarajh et al. 2024), apo_zero_unpaired (D'Oosterlinck et al. 2024: without the KL estimate)",
        choices=("kto", "apo_zero_unpaired"),
    )
    desirable_weight: float = key(
        1.0,
        "λ_D; that times the number of desirable answers should be 1 to 4/3 of λ_U times that of the others",
        ge=0,
        source="Ethayarajh et al. 2024, equation 9",
    )
    undesirable_weight: float = key(1.0, "λ_U, see desirable_weight", ge=0, source="Ethayarajh et al. 2024")

    reference_model: str | None = key(None, REFERENCE_MODEL)

    def more_passes(self) -> int:
        return int(self.loss == "kto")

    def rules(self, config: Sections) -> None:
        if self.desirable_weight == self.undesirable_weight == 0:
            raise ConfigError("algo.desirable_weight: it is 0, and algo.undesirable_weight too; raise one of them")
