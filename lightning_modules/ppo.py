"""Proximal policy optimisation: a critic, generalised advantages, and clipped losses of policy and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from lightning_modules.on_policy.flow import OnPolicyModule
from lightning_modules.on_policy.scoring import reference_of
from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.numeric import Moments, moments
from rlhf.objectives.policy import Aggregate, denominator, token_weights
from rlhf.objectives.ppo import explained_variance, gae, policy_loss, shaped_rewards, value_loss, whiten
from rlhf.objectives.process import credit_to_steps
from rlhf.objectives.shaping import later_kl_rewards
from rlhf.rewards.sources import MODEL, Rewards, Score
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Sampler


class PPOModule(OnPolicyModule):
    """PPO as in Ziegler et al. 2019, Stiennon et al. 2020, Ouyang et al. 2022; details as in Huang et al. 2024.

    Args:
        policy: what learns; with `algo.critic=shared` it carries the value head.
        critic: a `ScoreModel` of its own, or `None` where the critic is shared.
        reference, reward, sampler, ptx: see `OnPolicyModule`.
    """

    algo: PPOConfig

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        critic: ScoreModel | None,
        reference: LanguageModel | None,
        reward: Score | Rewards,
        sampler: Sampler,
        ptx: Callable[[int], Sequence[Row]] | None = None,
    ) -> None:
        super().__init__(config, total_steps, policy, reference, reward, sampler, ptx)
        assert isinstance(config.algo, PPOConfig)
        self.critic = critic
        self.deviation = 1.0
        """Score per unit of the advantages of the iteration under way."""

    @classmethod
    def build(cls, parts: Parts) -> Self:
        kind = parts.config.algo.value_model()
        return cls(
            parts.config,
            parts.total_steps,
            policy=parts.policy(value_head=kind == "shared"),
            reference=reference_of(parts),
            reward=parts.reward(),
            critic=parts.critic() if kind == "separate" else None,
            sampler=parts.sampler(),
            ptx=parts.documents(),
        )

    def trained(self) -> dict[str, nn.Module]:
        return super().trained() | ({"critic": self.critic} if self.critic is not None else {})

    def learning_rates(self) -> dict[str, float]:
        algo = self.algo
        if self.critic is None and algo.critic_lr is None and algo.critic_warmup == 0:
            return super().learning_rates()
        return {"policy": algo.lr, self.critic_part: algo.lr if algo.critic_lr is None else algo.critic_lr}

    @property
    def critic_part(self) -> str:
        """What of the trained models is the critic's alone."""
        return "policy.value_head" if self.critic is None else "critic"

    @property
    def warming_up(self) -> bool:
        """Whether the critic alone learns, since its values are worth little yet."""
        return self.step < self.algo.critic_warmup

    def rests(self, part: str) -> bool:
        return self.warming_up and part != self.critic_part

    def values_of(self, batch: Batch, stats: TokenStats) -> Tensor | None:
        return stats.values if self.critic is None else self.critic(batch, at="sources")

    def estimate_advantages(self, episodes: Episodes) -> None:
        """Fill rewards, advantages and returns; whitening is over the response tokens of all ranks."""
        algo, mask = self.algo, episodes.mask
        logprobs, reference = episodes.logprobs, episodes.reference_logprobs
        kl_coef = self.kl.value if algo.kl_in == "reward" else 0.0
        rewards = shaped_rewards(episodes.shaped_scores, logprobs, reference, mask, kl_coef)
        if algo.kl_in == "loss":
            rewards = rewards + later_kl_rewards(logprobs, reference, mask, self.kl.value, algo.gamma)
        if self.scorers.rewards.at_steps:
            weight = self.scorers.rewards.weights[MODEL]
            rewards = rewards + weight * credit_to_steps(episodes.step_rewards, mask)
        self.deviation = 1.0
        if algo.whiten_rewards:
            statistics = moments(rewards, mask, self.all_reduce)
            rewards = whiten(rewards, mask, mean_shift=False, statistics=statistics)
            self.deviation *= deviation(statistics)
        episodes.rewards = rewards
        episodes.advantages, episodes.returns = gae(rewards, episodes.values, mask, algo.gamma, algo.lam)
        if algo.whiten_advantages:
            statistics = moments(episodes.advantages, mask, self.all_reduce)
            episodes.advantages = whiten(episodes.advantages, mask, statistics=statistics)
            self.deviation *= deviation(statistics)

    @property
    def kl_price(self) -> float:
        """`algo.kl_coef` is in score per nat; whitened advantages are in standard deviations."""
        return self.kl.value / self.deviation

    def report(self, episodes: Episodes) -> dict[str, float]:
        found = super().report(episodes)
        explained = explained_variance(episodes.values, episodes.returns, episodes.mask, self.all_reduce)
        return found | {"value/explained_variance": float(explained)}

    def weight(self, batch: Batch) -> float:
        return denominator(batch.n_targets, batch.n_responses, self.aggregate)

    @property
    def aggregate(self) -> Aggregate:
        return cast(Aggregate, self.algo.aggregate)

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        """Clipped policy loss + value_coef · clipped value loss − entropy_coef · entropy, summed over tokens."""
        algo, stats = self.algo, self.regularisers.policy_stats(self.policy, batch)
        values = self.values_of(batch, stats)
        assert values is not None
        policy = policy_loss(
            stats.logprobs,
            episodes.flat("logprobs", batch),
            episodes.flat("advantages", batch),
            algo.clip_epsilon,
            algo.clip_epsilon_high,
            algo.dual_clip,
        )
        value = value_loss(values, episodes.flat("values", batch), episodes.flat("returns", batch), algo.clip_value)
        lengths = torch.bincount(batch.target_response, minlength=batch.n_responses)
        weights = token_weights(lengths, batch.target_response, self.aggregate, self.config.rollout.max_new_tokens)
        loss = self.regularisers.added((policy.losses * weights).sum(), stats, episodes, batch, self.kl_price, weights)
        # In a warm-up the policy's gradients are 0 and still there, so that every parameter takes part on every rank.
        loss = (0.0 if self.warming_up else 1.0) * loss + algo.value_coef * (value.losses * weights).sum()
        report = Means()
        report.add("policy/loss", policy.losses, weights)
        report.add("policy/clip_fraction", policy.clipped.float())
        report.add("policy/approx_kl", policy.approx_kl)
        report.add("policy/ratio", policy.ratio)
        report.add("value/loss", value.losses, weights)
        report.add("value/clip_fraction", value.clipped.float())
        return loss, report


def deviation(statistics: Moments) -> float:
    """The deviation by which `whiten` divides."""
    return float((statistics.variance + 1e-8).sqrt())
