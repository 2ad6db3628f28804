"""Proximal policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rlhf.config.algorithms.base import Sections
from rlhf.config.algorithms.on_policy import OnPolicyConfig
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class PPOConfig(OnPolicyConfig):
    """Proximal policy optimisation against a reward model (Ziegler et al. 2019; Huang et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.ppo:PPOModule"

    name: str = key("ppo", "algorithm", choices=("ppo",))
    lr: float = key(3e-6, "highest learning rate of the policy", gt=0, le=1, source="Huang et al. 2024")
    lr_schedule: str = key(
        "linear",
        "how the learning rate falls after warm-up",
        choices=("cosine", "linear", "constant"),
        source="Ziegler et al. 2019",
    )
    warmup_steps: int | None = key(
        0, "updates over which the learning rate rises from 0; null: a tenth of all updates", ge=0, unit="iterations"
    )
    min_lr_ratio: float = key(0.0, "last learning rate divided by the highest", ge=0, le=1, source="Huang et al. 2024")
    adam_beta2: float = key(0.95, "decay of the second moment", ge=0, lt=1, source="Ouyang et al. 2022, C.4")
    clip_epsilon: float = key(
        0.2, "clip of the probability ratio", gt=0, lt=1, source="Schulman et al. 2017; Huang et al. 2024"
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
    aggregate: str = key(
        "token",
        "losses are a mean over: token (all tokens), or sequence (each response's tokens, then responses)",
        choices=("token", "sequence"),
        source="Huang et al. 2024",
    )
    value_coef: float = key(0.1, "weight of the value loss", ge=0, source="Ziegler et al. 2019")
    clip_value: float | None = key(
        0.2,
        "clip of the change of a value since the rollout; null: none",
        gt=0,
        unit="score",
        source="Ziegler et al. 2019",
    )
    critic: str = key(
        "separate",
        "separate (a model that starts from the reward model, without one from the policy) or shared (a head on the "
        "policy)",
        choices=("separate", "shared"),
        source="Stiennon et al. 2020",
    )
    critic_lr: float | None = key(
        None, "learning rate of a separate critic, or of a shared critic's head; null: as lr", gt=0, le=1
    )
    critic_warmup: int = key(
        0,
        "number of first iterations in which only the critic learns (a shared critic: its head)",
        ge=0,
        unit="iterations",
    )
    gamma: float = key(1.0, "discount a token", gt=0, le=1, source="Ziegler et al. 2019")
    lam: float = key(
        0.95, "λ of generalised advantages", ge=0, le=1, source="Schulman et al. 2016; Ziegler et al. 2019"
    )
    whiten_advantages: bool = key(
        True, "whiten advantages over tokens: mean 0, variance 1", source="Ziegler et al. 2019"
    )
    whiten_rewards: bool = key(False, "whiten rewards over tokens: variance 1, mean kept", source="Huang et al. 2024")

    def value_model(self) -> Literal["none", "shared", "separate"]:
        return "shared" if self.critic == "shared" else "separate"

    def rules(self, config: Sections) -> None:
        super().rules(config)
        steps = config.train.max_steps
        if steps is not None and 0 < steps <= self.critic_warmup:
            raise ConfigError(
                f"algo.critic_warmup: {self.critic_warmup} iterations are all of train.max_steps={steps}, so that the "
                "policy would learn nothing; it must be less"
            )
