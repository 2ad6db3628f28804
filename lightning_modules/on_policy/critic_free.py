"""What on-policy algorithms without a critic share: the loss of a micro-batch, and the rewards of whole responses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_modules.on_policy.flow import OnPolicyModule
from lightning_modules.updates.averages import Means
from rlhf.config.algorithms.critic_free import CriticFreeConfig
from rlhf.data.batch import Batch
from rlhf.models.logprobs import TokenStats
from rlhf.objectives.numeric import keep
from rlhf.objectives.policy import (
    PolicyLoss,
    cispo_loss,
    denominator,
    policy_loss,
    response_policy_loss,
    token_weights,
)
from rlhf.rollout.episodes import Episodes


class CriticFreeModule(OnPolicyModule):
    """Clipped policy gradients with advantages of whole responses; subclasses say what those are."""

    algo: CriticFreeConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert isinstance(self.algo, CriticFreeConfig)
        self.rule = self.algo.update_rule()

    def response_rewards(self, episodes: Episodes) -> Tensor:
        """Σ of each response's rewards, [E]: its score after shaping, less its KL where that is in the reward."""
        if self.algo.kl_in == "loss":
            return episodes.shaped_scores
        return episodes.shaped_scores - self.kl.value * episodes.kl()

    def grouped(self, values: Tensor) -> Tensor:
        """[E] as [P, n]: the n samples of each prompt stand together."""
        return values.view(-1, self.algo.samples_per_prompt)

    def of_responses(self, episodes: Episodes, advantages: Tensor) -> None:
        """Give each response's advantage [P, n] to all of its tokens."""
        episodes.advantages = keep(episodes.mask, advantages.reshape(-1, 1).expand(episodes.mask.shape))

    def weight(self, batch: Batch) -> float:
        return denominator(batch.n_targets, batch.n_responses, self.rule.aggregate)

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        stats = self.regularisers.policy_stats(self.policy, batch)
        lengths = torch.bincount(batch.target_response, minlength=batch.n_responses)
        weights = token_weights(lengths, batch.target_response, self.rule.aggregate, self.config.rollout.max_new_tokens)
        found = self.policy_losses(episodes, batch, stats, lengths)
        per_token = self.rule.ratio == "token"
        loss = (found.losses * weights).sum() if per_token else found.losses.sum()
        loss = self.regularisers.added(loss, stats, episodes, batch, self.kl_price, weights)
        report = Means()
        report.add("policy/loss", found.losses, weights if per_token else None)
        report.add("policy/clip_fraction", found.clipped.float())
        report.add("policy/approx_kl", found.approx_kl)
        report.add("policy/ratio", found.ratio)
        return loss, report

    def policy_losses(self, episodes: Episodes, batch: Batch, stats: TokenStats, lengths: Tensor) -> PolicyLoss:
        """Losses per token [N], or per response [R], by the algorithm's rule."""
        rule, old = self.rule, episodes.flat("logprobs", batch)
        if rule.weight_only:
            return cispo_loss(stats.logprobs, old, episodes.flat("advantages", batch), rule.clip_high)
        clips = rule.clip_low, rule.clip_high, self.algo.dual_clip
        if rule.ratio == "token":
            return policy_loss(stats.logprobs, old, episodes.flat("advantages", batch), *clips)
        advantages = episodes.advantages[episodes.numbers(batch), 0]
        return response_policy_loss(stats.logprobs, old, advantages, lengths, *clips, normalised=rule.ratio == "mean")
