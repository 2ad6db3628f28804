"""Contrastive preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig, Records
from rlhf.config.keys import key


@dataclass
class CPOConfig(AlgoConfig):
    """CPO: DPO against a uniform reference, with cross-entropy of the chosen response (Xu et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.cpo:CPOModule"
    learns_from: ClassVar[Records] = "comparisons"
    rate_as: ClassVar[str | None] = "dpo"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("cpo", "algorithm", choices=("cpo",))
    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="as in TRL")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="as in TRL",
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="as in TRL")
    beta: float = key(
        0.1, "scale of the log-probability of a response", gt=0, unit="1/nat", source="Xu et al. 2024, section 4.1"
    )
    label_smoothing: float = key(
        0.0, "probability that a label is wrong", ge=0, lt=0.5, unit="probability", source="as in TRL"
    )
    sft_coef: float = key(
        1.0,
        "weight of the chosen response's cross-entropy per token; TRL's cpo_alpha",
        ge=0,
        source="Xu et al. 2024, equation 5",
    )
