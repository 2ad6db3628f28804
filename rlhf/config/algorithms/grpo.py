"""Group relative policy optimisation and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rlhf.config.algorithms.base import Sections
from rlhf.config.algorithms.critic_free import CriticFreeConfig, UpdateRule
from rlhf.config.keys import key
from rlhf.errors import ConfigError

RULES = {
    "grpo": UpdateRule("token", "sequence", 0.2, 0.2),
    "dr_grpo": UpdateRule("token", "constant", 0.2, 0.2),
    "dapo": UpdateRule("token", "token", 0.2, 0.28),
    "bnpo": UpdateRule("token", "token", 0.2, 0.2),
    "cispo": UpdateRule("token", "token", float("inf"), 4.0, weight_only=True),
    "gspo": UpdateRule("mean", "sequence", 3e-4, 4e-4),
}
"""Shao et al. 2024; Liu et al. 2025; Yu et al. 2025; TRL's name for a mean over all tokens; MiniMax 2025 (its bound as
in TRL: 5); Zheng et al. 2025."""


@dataclass
class GRPOConfig(CriticFreeConfig):
    """Group relative policy optimisation: a response against the others of its prompt, no critic (Shao et al. 2024)."""

    module: ClassVar[str] = "lightning_modules.grpo:GRPOModule"

    name: str = key("grpo", "algorithm", choices=("grpo",))
    variant: str = key(
        "grpo",
        "preset for the keys that are null below: grpo (Shao et al. 2024), dr_grpo (Liu et al. 2025), dapo (Yu et al. "
        "2025), bnpo (a mean over tokens, as in TRL), cispo (MiniMax 2025), gspo (Zheng et al. 2025)",
        choices=tuple(RULES),
    )
    samples_per_prompt: int = key(8, "responses sampled for each prompt: a group", ge=2, source="as in TRL")
    kl_coef: float = key(
        0.04,
        "weight of KL(policy ‖ reference); the papers of dr_grpo, dapo, cispo and gspo have 0",
        ge=0,
        unit="score/nat",
        source="Shao et al. 2024",
    )
    kl_in: str = key(
        "loss",
        "KL as a penalty in each response's reward, or in the loss",
        choices=("reward", "loss"),
        source="Shao et al. 2024",
    )
    kl_estimator: str = key(
        "k3",
        "with kl_in=loss: full (over the vocabulary), or of the sampled tokens k2, k3 or weighted_k3 (times the "
        "ratio: DeepSeek-V3.2, TRL's default); kl_in=reward takes k1",
        choices=("full", "k2", "k3", "weighted_k3"),
        source="Shao et al. 2024, equation 4",
    )
    clip_epsilon: float | None = key(
        None, "clip of the probability ratio; null: as the variant, 0.2 or gspo's 3e-4", gt=0, lt=1
    )
    clip_epsilon_high: float | None = key(
        None,
        "clip of the ratio upwards; null: as clip_epsilon, or as the variant, dapo's 0.28, cispo's 4, gspo's 4e-4",
        gt=0,
    )
    aggregate: str | None = key(
        None,
        "the loss is a mean over: token (all tokens), sequence (each response's tokens, then responses), constant "
        "(sums over rollout.max_new_tokens, then responses); null: as the variant",
        choices=("token", "sequence", "constant"),
    )
    scale_rewards: str | None = key(
        None,
        "advantages are divided by the standard deviation of: group, batch, none; null: none with dr_grpo, else group",
        choices=("group", "batch", "none"),
        source="Shao et al. 2024",
    )
    dynamic_sampling: int | None = key(
        None,
        "rollouts of an iteration, each on further prompts, until enough prompts have samples whose scores differ; 1: "
        "one, and all are learnt; null: 3 with dapo, else 1",
        ge=1,
        source="Yu et al. 2025",
    )
    overlong_buffer: int | None = key(
        None,
        "last tokens before rollout.max_new_tokens over which a penalty rises from 0 to overlong_penalty; 0: none; "
        "null: a fifth of rollout.max_new_tokens with dapo, else 0",
        ge=0,
        unit="tokens",
        source="Yu et al. 2025: 4,096 of 20,480",
    )
    overlong_penalty: float = key(
        1.0, "subtracted from the score of a response of full length", ge=0, unit="score", source="Yu et al. 2025"
    )

    def update_rule(self) -> UpdateRule:
        rule = RULES[self.variant]
        changes: dict[str, Any] = {}
        if self.clip_epsilon is not None:
            changes |= {"clip_low": self.clip_epsilon, "clip_high": self.clip_epsilon}
        if self.clip_epsilon_high is not None:
            changes["clip_high"] = self.clip_epsilon_high
        if self.aggregate is not None:
            changes["aggregate"] = self.aggregate
        return replace(rule, **changes)

    def scale(self) -> str:
        """Whose standard deviation divides the advantages: group, batch or none."""
        return self.scale_rewards or ("none" if self.variant == "dr_grpo" else "group")

    def rollouts(self) -> int:
        """The most rollouts of an iteration."""
        return self.dynamic_sampling or (3 if self.variant == "dapo" else 1)

    def buffer(self, max_new_tokens: int) -> int:
        """Tokens over which the penalty for long responses rises."""
        if self.overlong_buffer is not None:
            return self.overlong_buffer
        return max_new_tokens // 5 if self.variant == "dapo" else 0

    def rows_a_step(self, batch_size: int) -> int:
        """Prompts of all rollouts that an iteration may need."""
        return super().rows_a_step(batch_size) * self.rollouts()

    def rules(self, config: Sections) -> None:
        super().rules(config)
        rule = self.update_rule()
        if rule.ratio != "token" and rule.aggregate != "sequence":
            raise ConfigError(
                f"algo.aggregate: {rule.aggregate} is a mean of tokens' losses, and algo.variant={self.variant} has "
                "one loss per response; it must be sequence, or null"
            )
        if rule.weight_only and (self.clip_epsilon, self.dual_clip) != (None, None):
            name = "clip_epsilon" if self.clip_epsilon is not None else "dual_clip"
            raise ConfigError(
                f"algo.{name}: {getattr(self, name):g} would be ignored: algo.variant={self.variant} bounds the ratio "
                "from above only; pass algo.clip_epsilon_high, and leave this one null"
            )
        if self.buffer(config.rollout.max_new_tokens) > config.rollout.max_new_tokens:
            raise ConfigError(
                f"algo.overlong_buffer: {self.overlong_buffer} tokens are more than rollout.max_new_tokens="
                f"{config.rollout.max_new_tokens}; it must be at most that"
            )
