"""Proximal policy optimisation: a critic, generalised advantages, and clipped losses of policy and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor, nn

from lightning_modules.on_policy import OnPolicyModule
from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from rlhf.config import PPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.numeric import moments
from rlhf.objectives.ppo import explained_variance, gae, policy_loss, shaped_rewards, value_loss, whiten
from rlhf.rewards.sources import Rewards, Score
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
        reference: LanguageModel,
        reward: Score | Rewards,
        sampler: Sampler,
        ptx: Callable[[int], Sequence[Row]] | None = None,
    ) -> None:
        super().__init__(config, total_steps, policy, reference, reward, sampler, ptx)
        assert isinstance(config.algo, PPOConfig)
        self.critic = critic

    @classmethod
    def build(cls, parts: Parts) -> Self:
        kind = parts.config.algo.value_model()
        return cls(
            parts.config,
            parts.total_steps,
            policy=parts.policy(value_head=kind == "shared"),
            reference=parts.reference(),
            reward=parts.reward(),
            critic=parts.critic() if kind == "separate" else None,
            sampler=parts.sampler(),
            ptx=parts.documents(),
        )

    def trained(self) -> dict[str, nn.Module]:
        return super().trained() | ({"critic": self.critic} if self.critic is not None else {})

    def learning_rates(self) -> dict[str, float]:
        critic_lr = self.algo.lr if self.algo.critic_lr is None else self.algo.critic_lr
        return {"policy": self.algo.lr} | ({"critic": critic_lr} if self.critic is not None else {})

    def values_of(self, batch: Batch, stats: TokenStats) -> Tensor | None:
        return stats.values if self.critic is None else self.critic(batch, at="sources")

    def estimate_advantages(self, episodes: Episodes) -> None:
        """Fill rewards, advantages and returns; whitening is over the response tokens of all ranks."""
        algo, mask = self.algo, episodes.mask
        kl_coef = self.kl.value if algo.kl_in == "reward" else 0.0
        rewards = shaped_rewards(episodes.shaped_scores, episodes.logprobs, episodes.reference_logprobs, mask, kl_coef)
        if algo.whiten_rewards:
            rewards = whiten(rewards, mask, mean_shift=False, statistics=moments(rewards, mask, self.all_reduce))
        episodes.rewards = rewards
        episodes.advantages, episodes.returns = gae(rewards, episodes.values, mask, algo.gamma, algo.lam)
        if algo.whiten_advantages:
            statistics = moments(episodes.advantages, mask, self.all_reduce)
            episodes.advantages = whiten(episodes.advantages, mask, statistics=statistics)

    def report(self, episodes: Episodes) -> dict[str, float]:
        found = super().report(episodes)
        explained = explained_variance(episodes.values, episodes.returns, episodes.mask, self.all_reduce)
        return found | {"value/explained_variance": float(explained)}

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        """Clipped policy loss + value_coef · clipped value loss − entropy_coef · entropy, summed over tokens."""
        algo, stats = self.algo, self.regularisers.policy_stats(self.policy, batch)
        values = self.values_of(batch, stats)
        assert values is not None
        policy = policy_loss(
            stats.logprobs, episodes.flat("logprobs", batch), episodes.flat("advantages", batch), algo.clip_epsilon
        )
        value = value_loss(values, episodes.flat("values", batch), episodes.flat("returns", batch), algo.clip_value)
        loss = policy.losses.sum() + algo.value_coef * value.losses.sum()
        loss = self.regularisers.added(loss, stats, episodes, batch, self.kl_price)
        report = Means()
        report.add("policy/loss", policy.losses)
        report.add("policy/clip_fraction", policy.clipped.float())
        report.add("policy/approx_kl", policy.approx_kl)
        report.add("policy/ratio", policy.ratio)
        report.add("value/loss", value.losses)
        report.add("value/clip_fraction", value.clipped.float())
        return loss, report
