"""Language-model stages: pretraining on documents, supervised fine-tuning on the answers of demonstrations."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step
from lightning_modules.updates.optimise import Term, optimise, target_tokens
from rlhf.config import TrainConfig
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.objectives.language import bits_per_byte, nll_sum


class SFTModule(StageModule):
    """Cross-entropy per response token; end-of-text counts as one (Ouyang et al. 2022, §3.5)."""

    headline = ("train/loss", "val/loss", "val/bits_per_byte")

    def __init__(self, config: TrainConfig, total_steps: int, policy: LanguageModel) -> None:
        super().__init__(config, total_steps)
        self.policy = policy

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        """Summed negative log-likelihood (nats) of a micro-batch's target tokens."""
        loss = nll_sum(self.policy(batch).logprobs)
        report = Means()
        report.total("target_tokens", batch.n_targets)
        return loss, report

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, target_tokens)])

    def measure(self, batch: Batch) -> Means:
        loss, _ = self.loss_sum(batch)
        means = Means()
        means.total("nats", loss)
        means.total("tokens", batch.n_targets)
        means.total("bytes", batch.n_bytes)
        return means

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        if not metrics:
            return {}
        nats = metrics["nats"]
        return {"loss": nats / metrics["tokens"], "bits_per_byte": bits_per_byte(nats, int(metrics["bytes"]))}


class PretrainModule(SFTModule):
    """The plain language-model loss: every token of the documents is a target. What differs is the rows alone."""
