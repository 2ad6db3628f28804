"""Fine-tuning on the policy's own best samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf.config.algorithms.base import Sections
from rlhf.config.algorithms.on_policy import OnPolicyConfig
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class RAFTConfig(OnPolicyConfig):
    """Best-of-n distillation: fine-tuning on the best sample of each prompt (RAFT, Dong et al. 2023)."""

    module: ClassVar[str] = "lightning_modules.raft:RAFTModule"
    rate_as: ClassVar[str | None] = "ppo"

    name: str = key("raft", "algorithm", choices=("raft",))
    lr: float = key(2e-5, "highest learning rate", gt=0, le=1, source="Dong et al. 2023")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="Dong et al. 2023",
    )
    warmup_steps: int | None = key(
        0, "updates over which the learning rate rises from 0; null: a tenth of all updates", ge=0, unit="iterations"
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="as in TRL")
    samples_per_prompt: int = key(
        8, "responses sampled for each prompt, of which the best is learnt", ge=2, source="Dong et al. 2023: 8 to 32"
    )
    epochs: int = key(1, "passes over an iteration's best responses", ge=1, source="Dong et al. 2023: 2")
    kl_coef: float = key(
        0.0,
        "price of KL to the reference, subtracted from a response's score before the best is chosen",
        ge=0,
        unit="score/nat",
        source="Dong et al. 2023",
    )
    kl_in: str = key(
        "reward", "the KL counts where the best response is chosen; no other value is possible", choices=("reward",)
    )

    def learnt_of(self, samples: int) -> int:
        """The best one."""
        return 1

    def rules(self, config: Sections) -> None:
        super().rules(config)
        if self.target_kl is not None:
            raise ConfigError(
                f"algo.target_kl: {self.target_kl:g} stops updates when the policy moves away from its samples, but "
                "algo=raft imitates them; it must be null"
            )
