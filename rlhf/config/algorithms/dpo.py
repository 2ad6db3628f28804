"""Direct preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig, Records, Sections
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class DPOConfig(AlgoConfig):
    """Direct preference optimisation against a frozen reference (Rafailov et al. 2023)."""

    module: ClassVar[str] = "lightning_modules.dpo:DPOModule"
    learns_from: ClassVar[Records] = "comparisons"
    needs_reference: ClassVar[bool] = True
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("dpo", "algorithm", choices=("dpo",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="Rafailov et al. 2023, appendix B")
    lr_schedule: str = key(
        "linear", "how the rate falls after warm-up", choices=("cosine", "linear", "constant"), source="as in TRL"
    )
    min_lr_ratio: float = key(0.0, "last learning rate over the highest", ge=0, le=1, source="as in TRL")
    beta: float = key(
        0.1, "strength of the pull to the reference", gt=0, unit="1/nat", source="Rafailov et al. 2023, appendix B"
    )
    loss: str = key(
        "sigmoid",
        "sigmoid (Rafailov et al. 2023), ipo (Azar et al. 2023), hinge (Zhao et al. 2023)",
        choices=("sigmoid", "ipo", "hinge"),
    )
    label_smoothing: float = key(
        0.0, "probability that a label is wrong (cDPO, Mitchell 2023)", ge=0, lt=0.5, unit="probability"
    )

    def rules(self, config: Sections) -> None:
        if self.label_smoothing > 0 and self.loss != "sigmoid":
            raise ConfigError(
                f"algo.label_smoothing: {self.label_smoothing:g} is defined for algo.loss=sigmoid only; "
                f"with algo.loss={self.loss} it must be 0"
            )
