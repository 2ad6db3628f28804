"""Group relative policy optimisation (Shao et al. 2024), its variants, and dynamic sampling (Yu et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_modules.on_policy.critic_free import CriticFreeModule
from lightning_modules.updates.minibatches import numbers_everywhere
from rlhf.config.algorithms.grpo import GRPOConfig
from rlhf.data.rows import Row
from rlhf.objectives.groups import differing, group_advantages, overlong_penalty
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.uniforms import TRAIN


class GRPOModule(CriticFreeModule):
    """Compares each response with its group's mean, divided by the group's standard deviation by default."""

    algo: GRPOConfig

    @property
    def prompts(self) -> int:
        """Prompts of one rollout, over all ranks."""
        return self.config.train.batch_size // self.algo.samples_per_prompt

    def gather(self, rows: Sequence[Row]) -> Episodes:
        """Rollouts, each on further prompts, until enough prompts have samples whose scores differ."""
        found: list[Episodes] = []
        taken = 0
        for rollout in range(self.algo.rollouts()):
            stop = (rollout + 1) * self.prompts
            mine = [row for i, row in enumerate(rows) if taken <= i and self.number(i) < stop]
            episodes = self.roll_out(mine, self.sampling(), TRAIN, first=taken)
            self.score(episodes)
            found.append(episodes)
            taken += len(mine)
            if self.over_ranks(sum(int(differing(self.grouped(e.scores)).sum()) for e in found)) >= self.prompts:
                break
        return Episodes.joined(found)

    def learnt(self, episodes: Episodes) -> Sequence[Row | None]:
        """With several rollouts, the first prompts whose scores differ, as many as a rollout has."""
        if self.algo.rollouts() == 1:
            return episodes.rows
        differ = differing(self.grouped(episodes.scores)).tolist()
        numbers = numbers_everywhere([self.number(i) for i, differs in enumerate(differ) if differs])
        kept = set(numbers[: self.prompts])
        return [row if self.number(i) in kept else None for i, row in enumerate(episodes.rows)]

    def score(self, episodes: Episodes, *, learns: bool = True) -> None:
        super().score(episodes, learns=learns)
        longest = self.config.rollout.max_new_tokens
        penalty = overlong_penalty(episodes.mask.sum(-1), longest, self.algo.buffer(longest))
        episodes.shaped_scores = episodes.shaped_scores - self.algo.overlong_penalty * penalty

    def estimate_advantages(self, episodes: Episodes) -> None:
        rewards = self.grouped(self.response_rewards(episodes))
        scale = self.algo.scale()
        self.of_responses(episodes, group_advantages(rewards, scale, self.all_reduce))  # type: ignore[arg-type]
