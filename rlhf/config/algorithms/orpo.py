"""Odds ratio preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import AlgoConfig, Records
from rlhf.config.keys import key


@dataclass
class ORPOConfig(AlgoConfig):
    """ORPO: fine-tuning and preference in one loss, from a base model, by odds per token (Hong et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.orpo:ORPOModule"
    learns_from: ClassVar[Records] = "comparisons"
    starts_from: ClassVar[str | None] = "pretrain"
    rate_as: ClassVar[str | None] = "sft"
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("orpo", "algorithm", choices=("orpo",))
    lr: float = key(8e-6, "highest learning rate", gt=0, le=1, source="Hong et al. 2024, appendix C")
    odds_coef: float = key(
        0.1,
        "λ: weight of the odds ratio's loss beside the chosen response's cross-entropy per token; TRL's beta",
        ge=0,
        source="Hong et al. 2024, section 5: 0.1 for Mistral, 0.2 for Llama 2",
    )
