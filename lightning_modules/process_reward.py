"""Process reward model: a scalar head that is read where steps end, trained on their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step
from lightning_modules.updates.optimise import Term, optimise
from rlhf.config import TrainConfig
from rlhf.config.algorithms.process_reward import ProcessRewardConfig
from rlhf.data.batch import Batch
from rlhf.data.row import Row
from rlhf.data.rows import RIGHT
from rlhf.evaluation.intervals import wilson
from rlhf.models.language import ScoreModel
from rlhf.models.process_scorer import SEPARATOR
from rlhf.objectives.process import first_wrong, step_losses


class ProcessRewardModule(StageModule):
    """Cross-entropy of each judged step, averaged over those of the optimisation batch (Lightman et al. 2023).

    Long answers count more than short ones, as tokens do in fine-tuning: a label is what somebody gave.
    """

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(self, config: TrainConfig, total_steps: int, scorer: ScoreModel) -> None:
        super().__init__(config, total_steps)
        assert isinstance(config.algo, ProcessRewardConfig)
        self.algo: ProcessRewardConfig = config.algo
        self.scorer = scorer
        # Probabilities have a zero of their own, whatever the weights were before.
        scorer.reward_mean = 0.0
        setattr(scorer.hf.config, SEPARATOR, self.algo.separator())
        self._shares: dict[int, float] = {}

    @classmethod
    def build(cls, parts: Parts) -> Self:
        return cls(parts.config, parts.total_steps, parts.scorer())

    def exported(self) -> ScoreModel:
        return self.scorer

    def trained(self) -> dict[str, nn.Module]:
        return {"scorer": self.scorer}

    def counted(self, batch: Batch) -> Tensor:
        """[S], 1 for each step whose label is learnt, else 0."""
        response = batch.step_response
        if not self.algo.train_on_last_step_only:
            return torch.ones(len(response), device=response.device)
        following = torch.cat([response[1:], response.new_full((min(1, len(response)),), -1)])
        return (response != following).float()

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        logits = self.scorer(batch, at="steps")
        means = Means()
        means.add("accuracy", right(logits, batch))
        return (step_losses(logits, batch.step_labels) * self.counted(batch)).sum(), means

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, lambda batch: float(self.counted(batch).sum()))])

    # -- validation ------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if not self._shares:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self._shares = prompt_shares(data.val)

    def measure(self, batch: Batch) -> Means:
        logits = self.scorer(batch, at="steps")
        wrong, response = batch.step_labels < RIGHT, batch.step_response
        found = right(logits, batch)
        means = Means()
        means.add("loss", step_losses(logits, batch.step_labels))
        means.add("accuracy", found)
        means.add("right_accuracy", found, (~wrong).float())
        means.add("wrong_accuracy", found, wrong.float())
        means.add("right_share", (~wrong).float())
        said, known = (first_wrong(steps, response, batch.n_responses) for steps in (logits < 0, wrong))
        means.add("first_wrong_accuracy", (said == known).float())
        means.total("steps", len(response))
        means.total("prompts", sum(self._shares[index] for index in batch.row_index.tolist()))
        return means

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        if not metrics:
            return {}
        share = metrics.pop("right_share")
        # Steps of one answer, and answers to one prompt, are no independent draws: prompts are what is counted.
        for name in ("accuracy", "first_wrong_accuracy"):
            low, high = wilson(metrics[name] * metrics["prompts"], metrics["prompts"])
            metrics |= {f"{name}_low": low, f"{name}_high": high}
        kept = {name: value for name, value in metrics.items() if value == value or name == "loss"}
        return kept | {"commoner_share": max(share, 1 - share)}


def right(logits: Tensor, batch: Batch) -> Tensor:
    """[S], 1 where a step is called what its label says, 1/2 where the model can't tell, else 0."""
    signs = torch.where(batch.step_labels >= RIGHT, 1.0, -1.0) * logits.detach()
    return (signs > 0).float() + 0.5 * (signs == 0).float()


def prompt_shares(rows: Sequence[Row]) -> dict[int, float]:
    """By `Row.index`, 1 / answers to the row's prompt: their sum counts prompts, whichever rank measures which row."""
    answers = Counter(row.prompt for row in rows)
    return {row.index: 1 / answers[row.prompt] for row in rows}
