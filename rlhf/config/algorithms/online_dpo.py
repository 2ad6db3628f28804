"""Direct preference optimisation on pairs of the policy's own samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import Sections
from rlhf.config.algorithms.on_policy import OnPolicyConfig
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class OnlineDPOConfig(OnPolicyConfig):
    """DPO on pairs of the policy's own samples, judged by the reward source (Guo et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.online_dpo:OnlineDPOModule"
    rate_as: ClassVar[str | None] = "dpo"

    name: str = key("online-dpo", "algorithm", choices=("online-dpo",))
    lr: float = key(5e-7, "highest learning rate", gt=0, le=1, source="Guo et al. 2024")
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
    samples_per_prompt: int = key(
        2, "responses sampled for each prompt; all pairs of them are learnt", ge=2, source="Guo et al. 2024"
    )
    epochs: int = key(1, "passes over an iteration's episodes", ge=1, source="Guo et al. 2024")
    kl_coef: float = key(
        0.1, "DPO's β: the weight of KL(policy ‖ reference)", gt=0, unit="score/nat", source="Guo et al. 2024"
    )
    kl_in: str = key(
        "reward", "DPO's loss contains the KL, weighted by kl_coef; no other value is possible", choices=("reward",)
    )
    loss: str = key("sigmoid", "loss of a pair, as with algo=dpo", choices=("sigmoid", "hinge", "ipo"))
    labels: str = key(
        "hard",
        "labels of a pair: hard (the higher score is preferred, ties are left out), or soft (with the probability that "
        "Bradley–Terry gives to the difference of scores)",
        choices=("hard", "soft"),
        source="Guo et al. 2024",
    )

    def rules(self, config: Sections) -> None:
        super().rules(config)
        if self.entropy_coef:
            raise ConfigError(
                f"algo.entropy_coef: {self.entropy_coef:g} is per token, and algo=online-dpo has losses of pairs; it "
                "must be 0"
            )
