"""On-policy algorithms without a critic: a response is compared with others, and its tokens share what it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from rlhf.config.algorithms.on_policy import OnPolicyConfig
from rlhf.config.keys import key

Ratio = Literal["token", "product", "mean"]


@dataclass(frozen=True)
class UpdateRule:
    """How advantages become a loss.

    Attributes:
        ratio: whose probability ratio is clipped: each token's, the response's (the product of its tokens'), or the
            geometric mean over its tokens.
        aggregate: what the loss is a mean over, see `rlhf.objectives.policy.token_weights`.
        clip_low, clip_high: how far the ratio may fall and rise; infinite where it is not clipped.
        weight_only: the ratio is a clipped weight, through which no gradient passes (CISPO).
    """

    ratio: Ratio
    aggregate: Literal["token", "sequence", "constant", "sum"]
    clip_low: float
    clip_high: float
    weight_only: bool = False


@dataclass
class CriticFreeConfig(OnPolicyConfig):
    """What on-policy algorithms without a critic share: one update per rollout by default."""

    rate_as: ClassVar[str | None] = "ppo"

    lr: float = key(1e-6, "highest learning rate", gt=0, le=1, source="Shao et al. 2024")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="as in TRL",
    )
    warmup_steps: int | None = key(
        0, "updates over which the learning rate rises from 0; null: a tenth of all updates", ge=0, unit="iterations"
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="as in TRL")
    epochs: int = key(1, "passes over an iteration's episodes", ge=1, source="Shao et al. 2024; Ahmadian et al. 2024")
    clip_epsilon: float | None = key(
        0.2, "clip of the probability ratio; null: not clipped", gt=0, lt=1, source="Schulman et al. 2017"
    )
    clip_epsilon_high: float | None = key(
        None, "clip of the ratio upwards («clip higher»); null: as clip_epsilon", gt=0, source="Yu et al. 2025: 0.28"
    )
    dual_clip: float | None = key(
        None,
        "upper bound of the ratio where the advantage is negative (dual clip); null: none",
        gt=1,
        source="Ye et al. 2020: 3",
    )

    def update_rule(self) -> UpdateRule:
        """How advantages become a loss."""
        raise NotImplementedError

    def clip_range(self) -> tuple[float, float]:
        """How far the ratio may fall and rise, where null is no bound."""
        low = math.inf if self.clip_epsilon is None else self.clip_epsilon
        return low, low if self.clip_epsilon_high is None else self.clip_epsilon_high
