"""Preference optimisation without a reference: SimPO, CPO and ORPO differ in one formula, which a subclass gives."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.preference.sequence_logprobs import response_lengths, response_logprobs
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import TrainConfig
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.models.selection import select
from rlhf.objectives.preference.bradley_terry import accuracy
from rlhf.objectives.preference.reference_free import PairLosses, Responses


class ReferenceFreeModule(StageModule):
    """A loss of each pair, averaged within a prompt, then over prompts."""

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(self, config: TrainConfig, total_steps: int, policy: LanguageModel) -> None:
        super().__init__(config, total_steps)
        self.policy = policy

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def pair_losses(self, chosen: Responses, rejected: Responses) -> PairLosses:
        """The method's formula."""
        raise NotImplementedError

    def compare(self, batch: Batch) -> tuple[Tensor, Means]:
        """Losses of the batch's P pairs, [P], and what to report of them."""
        sums, lengths = response_logprobs(self.policy, batch), response_lengths(batch)
        chosen, rejected = (
            Responses(select(sums, batch.pairs[:, side]), lengths[batch.pairs[:, side]]) for side in (0, 1)
        )
        result = self.pair_losses(chosen, rejected)
        return result.losses, report(result, chosen, rejected, batch.pair_weights)

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        losses, means = self.compare(batch)
        return (losses * batch.pair_weights).sum(), means

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, prompts_with_pairs)])

    def measure(self, batch: Batch) -> Means:
        losses, means = self.compare(batch)
        means.add("loss", losses, batch.pair_weights)
        return means


def report(result: PairLosses, chosen: Responses, rejected: Responses, weights: Tensor) -> Means:
    """What DPO reports too, and the cross-entropy of chosen responses (nats per token)."""
    means = Means()
    means.add("accuracy", accuracy(result.chosen_rewards, result.rejected_rewards), weights)
    means.add("margin", result.chosen_rewards - result.rejected_rewards, weights)
    means.add("chosen_reward", result.chosen_rewards, weights)
    means.add("rejected_reward", result.rejected_rewards, weights)
    means.add("chosen_logprob", chosen.logprobs, weights)
    means.add("rejected_logprob", rejected.logprobs, weights)
    means.add("chosen_nll", result.nll, weights)
    return means
