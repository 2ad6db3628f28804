"""Direct preference optimisation and its family, from reference log-probabilities that are computed once."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from lightning_modules.against_reference import AgainstReference
from lightning_modules.parts import Parts
from lightning_modules.reference import Reference
from lightning_modules.sequence_logprobs import response_lengths, response_sums
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.errors import DataError
from rlhf.models.language import LanguageModel
from rlhf.models.selection import select
from rlhf.objectives.dpo import DPOResult, dpo
from rlhf.objectives.pair_losses import chosen_nll
from rlhf.objectives.pair_weights import desensitised, wpo_weights
from rlhf.objectives.preference import accuracy


class DPOModule(AgainstReference):
    """The losses of `algo.loss` per pair, weighted and added up, averaged within a prompt, then over prompts."""

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(self, config: TrainConfig, total_steps: int, policy: LanguageModel, known: Reference) -> None:
        super().__init__(config, total_steps, policy, known)
        assert isinstance(config.algo, DPOConfig)
        self.algo: DPOConfig = config.algo

    @classmethod
    def build(cls, parts: Parts) -> Self:
        assert isinstance(parts.config.algo, DPOConfig)
        known = parts.reference_logprobs(per_token=parts.config.algo.ld_alpha is not None)
        if parts.config.algo.margin_coef > 0:
            check_margins(known)
        return cls(parts.config, parts.total_steps, parts.policy(), known)

    def of_pairs(self, said: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of chosen and rejected responses (nats), [P] each.

        Args:
            said: of responses, [R]; with `algo.ld_alpha`, by which the surplus of the longer one counts less, of
                tokens, [N].
        """
        chosen, rejected = batch.pairs.unbind(-1)
        if self.algo.ld_alpha is None:
            return select(said, chosen), select(said, rejected)
        tokens, mask, lengths = batch.pad_responses(said), batch.response_mask(), response_lengths(batch)
        return (
            desensitised(select(tokens, chosen), mask[chosen], lengths[rejected], self.algo.ld_alpha),
            desensitised(select(tokens, rejected), mask[rejected], lengths[chosen], self.algo.ld_alpha),
        )

    def compare(self, batch: Batch, split: str) -> tuple[DPOResult, Means]:
        """Losses of the batch's P pairs, and what is reported of them."""
        algo, means = self.algo, Means()
        stats = self.policy(batch, want_log_squares=algo.weighting == "wpo")
        sums = response_sums(stats.logprobs, batch)
        pairs = self.of_pairs(sums if algo.ld_alpha is None else stats.logprobs, batch)
        reference = self.of_pairs(self.reference_sums(batch, split).to(stats.logprobs), batch)
        chosen, rejected = batch.pairs.unbind(-1)
        lengths = response_lengths(batch)
        counts = None
        if stats.log_squares is not None:
            aligned = response_sums(stats.logprobs.detach() - stats.log_squares, batch)
            counts = wpo_weights(aligned[chosen], aligned[rejected], lengths[chosen], lengths[rejected])
            means.add("pair_weight", counts, batch.pair_weights)
        parts: dict[str, Tensor] = {}
        for name, _ in algo.mixture():
            if name == "sft":
                parts[name] = chosen_nll(select(sums, chosen), lengths[chosen])
                continue
            result = dpo(
                *pairs,
                *reference,
                beta=algo.beta_at(self.step, self.total_steps),
                loss=name,  # type: ignore[arg-type]
                label_smoothing=algo.label_smoothing,
                chosen_lengths=lengths[chosen],
                rejected_lengths=lengths[rejected],
                divergence=algo.divergence,  # type: ignore[arg-type]
                divergence_alpha=algo.divergence_alpha,
                margin=algo.margin_coef * batch.pair_margins if algo.margin_coef > 0 else None,
                discopop_tau=algo.discopop_tau,
            )
            parts[name] = result.losses if counts is None else result.losses * counts
        if len(parts) > 1:
            for name, losses in parts.items():
                means.add(f"loss_{name}", losses, batch.pair_weights)
        losses = torch.stack([weight * parts[name] for name, weight in algo.mixture()]).sum(0)
        result = result._replace(losses=losses)
        self.report(batch, result, *pairs, means)
        return result, means

    def report(self, batch: Batch, result: DPOResult, chosen: Tensor, rejected: Tensor, means: Means) -> None:
        weights = batch.pair_weights
        means.add("accuracy", accuracy(result.chosen_rewards, result.rejected_rewards), weights)
        means.add("margin", result.chosen_rewards - result.rejected_rewards, weights)
        means.add("chosen_reward", result.chosen_rewards, weights)
        means.add("rejected_reward", result.rejected_rewards, weights)
        means.add("chosen_logprob", chosen, weights)
        means.add("rejected_logprob", rejected, weights)

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        result, means = self.compare(batch, "train")
        return (result.losses * batch.pair_weights).sum(), means

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, prompts_with_pairs)])

    def measure(self, batch: Batch) -> Means:
        result, means = self.compare(batch, "val")
        means.add("loss", result.losses, batch.pair_weights)
        return means


def check_margins(known: Reference) -> None:
    """Raises:
    DataError: a comparison has no margin, so that `algo.margin_coef` would mean nothing for it.
    """
    rows = [row for found in known.rows.values() for row in found if row.pairs]
    without = sum(not row.margins for row in rows)
    if without:
        raise DataError(
            f"algo.margin_coef: {without} of {len(rows)} examples have no margin; give each comparison a field margin, "
            "or each answer of a ranking a score"
        )
