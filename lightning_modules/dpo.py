"""Direct preference optimisation (Rafailov et al. 2023) from reference log-probabilities that are computed once."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from lightning_modules.against_reference import AgainstReference
from lightning_modules.parts import Parts
from lightning_modules.reference import Reference
from lightning_modules.sequence_logprobs import response_lengths, response_logprobs
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.models.selection import select
from rlhf.objectives.preference import DPOResult, accuracy, dpo


class DPOModule(AgainstReference):
    """DPO, cDPO, IPO or hinge loss per pair, averaged within a prompt, then over prompts."""

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        known: Reference,
    ) -> None:
        super().__init__(config, total_steps, policy, known)
        assert isinstance(config.algo, DPOConfig)
        self.algo: DPOConfig = config.algo

    @classmethod
    def build(cls, parts: Parts) -> Self:
        return cls(parts.config, parts.total_steps, parts.policy(), parts.reference_logprobs())

    def compare(self, batch: Batch, split: str) -> tuple[DPOResult, Tensor, Tensor]:
        """Losses of the batch's P pairs, and the log-probabilities of chosen and rejected, [P] each."""
        logprobs = response_logprobs(self.policy, batch)
        theirs = self.reference_sums(batch, split).to(logprobs)
        chosen, rejected = batch.pairs[:, 0], batch.pairs[:, 1]
        picked = select(logprobs, chosen), select(logprobs, rejected)
        lengths = response_lengths(batch)
        result = dpo(
            picked[0],
            picked[1],
            theirs[chosen],
            theirs[rejected],
            beta=self.algo.beta,
            loss=self.algo.loss,  # type: ignore[arg-type]
            label_smoothing=self.algo.label_smoothing,
            chosen_lengths=lengths[chosen],
            rejected_lengths=lengths[rejected],
        )
        return result, *picked

    def report(self, batch: Batch, result: DPOResult, chosen: Tensor, rejected: Tensor) -> Means:
        weights = batch.pair_weights
        means = Means()
        means.add("accuracy", accuracy(result.chosen_rewards, result.rejected_rewards), weights)
        means.add("margin", result.chosen_rewards - result.rejected_rewards, weights)
        means.add("chosen_reward", result.chosen_rewards, weights)
        means.add("rejected_reward", result.rejected_rewards, weights)
        means.add("chosen_logprob", chosen, weights)
        means.add("rejected_logprob", rejected, weights)
        return means

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        result, chosen, rejected = self.compare(batch, "train")
        return (result.losses * batch.pair_weights).sum(), self.report(batch, result, chosen, rejected)

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, prompts_with_pairs)])

    def measure(self, batch: Batch) -> Means:
        result, chosen, rejected = self.compare(batch, "val")
        means = self.report(batch, result, chosen, rejected)
        means.add("loss", result.losses, batch.pair_weights)
        return means
