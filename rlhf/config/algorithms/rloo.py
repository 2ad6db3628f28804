"""REINFORCE with the other samples' mean as a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.critic_free import CriticFreeConfig, UpdateRule
from rlhf.config.keys import key


@dataclass
class RLOOConfig(CriticFreeConfig):
    """REINFORCE leave-one-out: sequence-level policy gradient, no critic (Ahmadian et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.rloo:RLOOModule"

    name: str = key("rloo", "algorithm", choices=("rloo",))
    samples_per_prompt: int = key(
        4,
        "responses sampled for each prompt; each has the others' mean as its baseline",
        ge=2,
        source="Ahmadian et al. 2024: 2 and 4",
    )

    def update_rule(self) -> UpdateRule:
        return UpdateRule("product", "sum", *self.clip_range())
