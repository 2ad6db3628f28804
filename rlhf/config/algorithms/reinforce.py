"""Policy gradients with simple baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import Sections
from rlhf.config.algorithms.critic_free import CriticFreeConfig, UpdateRule
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class ReinforceConfig(CriticFreeConfig):
    """REINFORCE on tokens, no critic: REINFORCE++ (Hu et al. 2025), its baseline form, and ReMax (Li et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.reinforce:ReinforceModule"

    name: str = key("reinforce", "algorithm", choices=("reinforce",))
    variant: str = key(
        "plus_plus",
        "what is subtracted from a score: nothing (plus_plus), the mean of the prompt's other samples "
        "(plus_plus_baseline), or the score of the greedy response (remax); the first two then whiten over the batch",
        choices=("plus_plus", "plus_plus_baseline", "remax"),
        source="Hu et al. 2025; Li et al. 2024",
    )
    samples_per_prompt: int = key(4, "responses sampled for each prompt", ge=1, source="Hu et al. 2025")
    kl_estimator: str = key(
        "k2",
        "with kl_in=loss: full (over the vocabulary), or of the sampled tokens k2, k3 or weighted_k3 (times the "
        "ratio: DeepSeek-V3.2, TRL's default); kl_in=reward takes k1",
        choices=("full", "k2", "k3", "weighted_k3"),
        source="Hu et al. 2025, baseline form",
    )

    def update_rule(self) -> UpdateRule:
        return UpdateRule("token", "token", *self.clip_range())

    def rules(self, config: Sections) -> None:
        super().rules(config)
        if self.variant == "plus_plus_baseline" and self.samples_per_prompt < 2:
            raise ConfigError(
                "algo.samples_per_prompt: 1 leaves no other sample for the baseline of "
                "algo.variant=plus_plus_baseline; it must be at least 2"
            )
