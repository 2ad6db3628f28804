"""Preference optimisation with the log-probability per token as reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig, Records
from rlhf.config.keys import key


@dataclass
class SimPOConfig(AlgoConfig):
    """SimPO: preference optimisation without a reference, by log-probability per token (Meng et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.simpo:SimPOModule"
    learns_from: ClassVar[Records] = "comparisons"
    rate_as: ClassVar[str | None] = "dpo"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("simpo", "algorithm", choices=("simpo",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="Meng et al. 2024, section 3: 3e-7 to 1e-6")
    min_lr_ratio: float = key(
        0.0, "last learning rate divided by the highest", ge=0, le=1, source="Meng et al. 2024: cosine"
    )
    beta: float = key(
        2.0, "scale of the log-probability per token", gt=0, unit="1/nat", source="Meng et al. 2024: 2.0 to 2.5"
    )
    target_margin: float = key(
        1.0,
        "γ: how far apart the two rewards should be, in the unit of β times nats; TRL's simpo_gamma",
        ge=0,
        source="Meng et al. 2024: 0.3 to 1.6, about half of β",
    )
    label_smoothing: float = key(
        0.0, "probability that a label is wrong", ge=0, lt=0.5, unit="probability", source="as in TRL"
    )
    sft_coef: float = key(
        0.0, "weight of the chosen response's cross-entropy per token (CPO-SimPO); TRL's cpo_alpha", ge=0
    )
