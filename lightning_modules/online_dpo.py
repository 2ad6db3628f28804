"""Online DPO (Guo et al. 2024): pairs of the policy's own samples, judged by the reward source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from lightning_modules.on_policy.flow import OnPolicyModule
from lightning_modules.preference.sequence_logprobs import response_sums
from lightning_modules.updates.averages import Means
from lightning_modules.updates.optimise import prompts_with_pairs
from rlhf.config.algorithms.online_dpo import OnlineDPOConfig
from rlhf.data.batch import Batch
from rlhf.data.rows import Row
from rlhf.models.selection import select
from rlhf.objectives.kl import k3
from rlhf.objectives.preference.bradley_terry import accuracy
from rlhf.objectives.preference.dpo import dpo
from rlhf.rollout.episodes import Episodes


class OnlineDPOModule(OnPolicyModule):
    """DPO's loss per pair, averaged within a prompt, then over prompts; the reference is frozen."""

    algo: OnlineDPOConfig

    def estimate_advantages(self, episodes: Episodes) -> None:
        """Scores decide pairs, see `learnt`."""

    def learnt(self, episodes: Episodes) -> Sequence[Row | None]:
        """Rows with their pairs, the better response first; nothing of a prompt whose responses all tie."""
        scores = episodes.shaped_scores.tolist()
        rows: list[Row | None] = []
        for row, first in zip(episodes.rows, episodes.first, strict=True):
            pairs = []
            for i, j in combinations(range(len(row.responses)), 2):
                if row.responses[i] == row.responses[j]:
                    continue  # nothing sets them apart, whatever a judge says
                difference = scores[first + i] - scores[first + j]
                if difference or self.algo.labels == "soft":
                    pairs.append((i, j) if difference >= 0 else (j, i))
            rows.append(replace(row, pairs=tuple(pairs)) if pairs else None)
        return rows

    def weight(self, batch: Batch) -> float:
        return prompts_with_pairs(batch)

    def loss_sum(self, episodes: Episodes, batch: Batch) -> tuple[Tensor, Means]:
        stats = self.regularisers.policy_stats(self.policy, batch)
        ours = response_sums(stats.logprobs, batch)
        theirs = response_sums(episodes.flat("reference_logprobs", batch), batch)
        scores = episodes.shaped_scores[episodes.numbers(batch)]
        lengths = torch.bincount(batch.target_response, minlength=batch.n_responses)
        better, worse = batch.pairs.unbind(-1)

        def losses(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Losses of the pairs, if the first response of each is the preferred one."""
            return dpo(
                select(ours, first),
                select(ours, second),
                theirs[first],
                theirs[second],
                beta=self.kl.value,
                loss=self.algo.loss,  # type: ignore[arg-type]
                chosen_lengths=lengths[first],
                rejected_lengths=lengths[second],
            )

        found, chosen, rejected = losses(better, worse)
        if self.algo.labels == "soft":
            preferred = torch.sigmoid(scores[better] - scores[worse])
            found = preferred * found + (1 - preferred) * losses(worse, better)[0]
        weights = batch.pair_weights
        report = Means()
        report.add("policy/loss", found, weights)
        report.add("policy/accuracy", accuracy(chosen, rejected), weights)
        report.add("policy/margin", chosen - rejected, weights)
        report.add("policy/approx_kl", k3(episodes.flat("logprobs", batch), stats.logprobs.detach()))
        return (found * weights).sum(), report
