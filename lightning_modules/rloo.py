"""REINFORCE leave-one-out (Ahmadian et al. 2024)."""

from __future__ import annotations

from lightning_modules.on_policy.critic_free import CriticFreeModule
from rlhf.objectives.groups import leave_one_out
from rlhf.rollout.episodes import Episodes


class RLOOModule(CriticFreeModule):
    """Each response against the mean of its prompt's others, KL included."""

    def estimate_advantages(self, episodes: Episodes) -> None:
        self.of_responses(episodes, leave_one_out(self.grouped(self.response_rewards(episodes))))
