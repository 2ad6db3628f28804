"""RAFT, expert iteration: fine-tuning on the best of n samples (Dong et al. 2023; Anthony et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from lightning_modules.on_policy.flow import OnPolicyModule
from lightning_modules.updates.averages import Means
from rlhf.config.algorithms.raft import RAFTConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.objectives.language import nll_sum
from rlhf.rollout.episodes import Episodes


class RAFTModule(OnPolicyModule):
    """Log-likelihood of each prompt's best response, averaged over tokens."""

    algo: RAFTConfig

    def worth(self, episodes: Episodes) -> Tensor:
        """[P, n] by which the best is chosen: the score after shaping, less the KL at its price."""
        return (episodes.shaped_scores - self.kl.value * episodes.kl()).view(-1, self.algo.samples_per_prompt)

    def estimate_advantages(self, episodes: Episodes) -> None:
        """The best are chosen in `learnt`."""

    def learnt(self, episodes: Episodes) -> Sequence[Row | None]:
        best = self.worth(episodes).argmax(-1).tolist()
        rows = zip(episodes.rows, best, strict=True)
        return [replace(row, responses=(row.responses[number],)) for row, number in rows]

    def report(self, episodes: Episodes) -> dict[str, float]:
        means = Means()
        means.add("objective/best_worth", self.worth(episodes).amax(-1))
        return super().report(episodes) | means.reduce(self.all_reduce)

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        stats = self.regularisers.policy_stats(self.policy, batch)
        report = Means()
        report.add("policy/loss", -stats.logprobs)
        return self.regularisers.added(nll_sum(stats.logprobs), stats, episodes, batch, self.kl_price), report
