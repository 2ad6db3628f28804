"""Reward models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rlhf.config.algorithms.base import AlgoConfig, Records, Sections
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class RewardConfig(AlgoConfig):
    """Reward model on comparisons, Bradley–Terry loss (Ouyang et al. 2022, equation 1)."""

    module: ClassVar[str] = "lightning_modules.reward:RewardModule"
    learns_from: ClassVar[Records] = "comparisons"
    exports: ClassVar[Literal["policy", "scorer"]] = "scorer"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("reward", "algorithm", choices=("reward",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="Ouyang et al. 2022, C.2: 9e-6")
    loss: str = key(
        "bradley_terry",
        "bradley_terry (pairs), plackett_luce (whole rankings, each response against those that it beats)",
        choices=("bradley_terry", "plackett_luce"),
        source="Ouyang et al. 2022, equation 1",
    )
    margin_coef: float = key(
        0.0,
        "how far apart two scores should be for each unit of a comparison's margin (Llama 2, Touvron et al. 2023)",
        ge=0,
        unit="score/margin",
    )
    label_smoothing: float | None = key(
        None, "probability that a label is wrong; null: 0", ge=0, lt=0.5, unit="probability"
    )
    center_coef: float = key(
        0.0,
        "weight of (sum of a pair's scores)², which keeps them around 0 (Eisenstein et al. 2023: 0.01)",
        ge=0,
        unit="1/score²",
    )
    center: bool = key(
        True, "shift scores so that chosen responses have mean 0", source="Ouyang et al. 2022, section 3.5"
    )

    def rules(self, config: Sections) -> None:
        for name in ("margin_coef", "label_smoothing", "center_coef"):
            value = getattr(self, name) or 0
            if self.loss != "bradley_terry" and value > 0:
                raise ConfigError(
                    f"algo.{name}: {value:g} is defined for algo.loss=bradley_terry only; with algo.loss={self.loss} "
                    "it must be 0"
                )
