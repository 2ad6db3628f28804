"""REINFORCE++ and its baseline form (Hu et al. 2025), and ReMax (Li et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_modules.on_policy.critic_free import CriticFreeModule
from rlhf.config.algorithms.reinforce import ReinforceConfig
from rlhf.data.rows import Row
from rlhf.objectives.advantages import whiten
from rlhf.objectives.groups import leave_one_out, returns_to_go
from rlhf.objectives.numeric import moments
from rlhf.objectives.shaping import shaped_rewards
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Sampling
from rlhf.rollout.uniforms import TRAIN


class ReinforceModule(CriticFreeModule):
    """Each token's reward from there on, KL included, less a baseline of the response's score."""

    algo: ReinforceConfig
    greedy_scores: Tensor
    """[P], with remax: of the greedy response to each of this rank's prompts, after shaping."""

    def gather(self, rows: Sequence[Row]) -> Episodes:
        episodes = super().gather(rows)
        if self.algo.variant == "remax":
            greedy = self.roll_out(rows, Sampling(self.config.rollout.max_new_tokens, temperature=0), TRAIN)
            self.score(greedy, learns=False)
            self.greedy_scores = greedy.shaped_scores
        return episodes

    def above_baseline(self, episodes: Episodes) -> Tensor:
        """Scores [P, n] less their baselines.

        The mean is of the prompt's other samples. Hu et al. take the mean of all, which differs by a factor of
        (n − 1)/n: without the KL in the reward whitening undoes it, with it a nat would cost n/(n − 1) times as much.
        """
        scores = self.grouped(episodes.shaped_scores)
        if self.algo.variant == "remax":
            return scores - self.greedy_scores[:, None]
        return leave_one_out(scores) if self.algo.variant == "plus_plus_baseline" else scores

    def estimate_advantages(self, episodes: Episodes) -> None:
        mask = episodes.mask
        scores = self.above_baseline(episodes).reshape(-1)
        kl_coef = self.kl.value if self.algo.kl_in == "reward" else 0.0
        rewards = shaped_rewards(scores, episodes.logprobs, episodes.reference_logprobs, mask, kl_coef)
        advantages = returns_to_go(rewards, mask)
        if self.algo.variant != "remax":
            advantages = whiten(advantages, mask, statistics=moments(advantages, mask, self.all_reduce))
        episodes.advantages = advantages
