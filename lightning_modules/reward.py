"""Reward model: a scalar head on the last token, trained on comparisons (Bradley–Terry)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.dpo import check_margins
from lightning_modules.parts import Parts
from lightning_modules.preference.reference import Reference
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Micro, Step, cut
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import RewardConfig, TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.evaluation.intervals import wilson
from rlhf.models.language import ScoreModel
from rlhf.models.selection import select
from rlhf.objectives.preference.bradley_terry import accuracy, expected_calibration_error
from rlhf.objectives.preference.reward_losses import pair_losses, plackett_luce
from rlhf.progress import ProgressBar

log = logging.getLogger("rlhf")

CENTRED_ON, CENTRED_TO = 1000, 0.02
"""Demonstrations that are read at most to find the mean score, and the standard error of that mean, in standard
deviations of the scores of held-out responses, at which fewer are enough."""

BLOCK = 100
"""Demonstrations after which the mean is looked at again."""


class Compared(NamedTuple):
    """Scores of chosen and rejected responses, [P] each; losses with their weights, which sum to 1 in each row."""

    chosen: Tensor
    rejected: Tensor
    losses: Tensor
    weights: Tensor


class RewardModule(StageModule):
    """−log σ(score of chosen − of rejected), averaged within a prompt, then over prompts (Ouyang et al. 2022).

    `algo.loss=plackett_luce` takes rankings as wholes instead; pairs are still what is reported.
    """

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(self, config: TrainConfig, total_steps: int, scorer: ScoreModel) -> None:
        super().__init__(config, total_steps)
        assert isinstance(config.algo, RewardConfig)
        self.algo: RewardConfig = config.algo
        self.scorer = scorer
        self._margins: list[Tensor] = []

    @classmethod
    def build(cls, parts: Parts) -> Self:
        return cls(parts.config, parts.total_steps, parts.scorer())

    def exported(self) -> ScoreModel:
        return self.scorer

    def before_export(self, demonstrations: Callable[[], Sequence[Row]]) -> None:
        """Shift scores so that demonstrations, else chosen responses, have mean 0."""
        if self.algo.center:
            read = self.centre(demonstrations())
            log.info("reward_mean: %.4f, the mean score of %d demonstrations", self.scorer.reward_mean, read)

    def trained(self) -> dict[str, nn.Module]:
        return {"scorer": self.scorer}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.algo.margin_coef > 0:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            check_margins(Reference({"train": data.train, "val": data.val}))

    def compare(self, batch: Batch) -> Compared:
        scores = self.scorer(batch)
        chosen, rejected = (select(scores, batch.pairs[:, side]) for side in (0, 1))
        if self.algo.loss == "plackett_luce":
            rows = [row for row, lengths in enumerate(batch.response_lengths) for _ in lengths]
            return Compared(chosen, rejected, *plackett_luce(scores, batch.pairs, torch.tensor(rows).to(scores.device)))
        losses = pair_losses(
            chosen,
            rejected,
            margin=self.algo.margin_coef * batch.pair_margins if self.algo.margin_coef > 0 else None,
            label_smoothing=self.algo.label_smoothing or 0.0,
            center_coef=self.algo.center_coef,
        )
        return Compared(chosen, rejected, losses, batch.pair_weights)

    def report(self, batch: Batch, chosen: Tensor, rejected: Tensor) -> Means:
        means = Means()
        means.add("accuracy", accuracy(chosen, rejected), batch.pair_weights)
        means.add("margin", chosen - rejected, batch.pair_weights)
        means.add("chosen_score", chosen, batch.pair_weights)
        means.add("rejected_score", rejected, batch.pair_weights)
        return means

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        found = self.compare(batch)
        return (found.losses * found.weights).sum(), self.report(batch, found.chosen, found.rejected)

    def learn(self, step: Step) -> dict[str, float]:
        return optimise(self, [Term(step.micros, self.loss_sum, prompts_with_pairs)])

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._margins = []

    def measure(self, batch: Batch) -> Means:
        chosen, rejected, losses, weights = self.compare(batch)
        means = self.report(batch, chosen, rejected)
        means.add("loss", losses, weights)
        for scores in (chosen, rejected):
            means.add("score", scores)
            means.add("score_square", scores.double().square())
        means.total("pairs", batch.n_pairs)
        means.total("prompts", float(batch.pair_weights.sum()))
        self._margins.append(chosen - rejected)
        return means

    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        super().validation_step(micro, batch_idx)
        if not micro.live:
            self._margins.pop()

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        if not metrics:
            return {}
        margins = torch.cat(self._margins) if self._margins else torch.zeros(0, device=self.device)
        calibration = expected_calibration_error(torch.sigmoid(margins), all_reduce=self.all_reduce)
        # Pairs of one prompt share its responses: prompts, not pairs, are the independent observations.
        prompts = round(metrics["prompts"])
        low, high = wilson(metrics["accuracy"] * prompts, prompts)
        std = math.sqrt(max(0.0, metrics.pop("score_square") - metrics.pop("score") ** 2))
        metrics |= {"score_std": std}
        return metrics | {"accuracy_low": low, "accuracy_high": high, "calibration_error": float(calibration)}

    @torch.no_grad()
    def centre(self, rows: Sequence[Row]) -> int:
        """Set `reward_mean` so that demonstrations score 0 on average (Stiennon et al. 2020).

        They are read in an order of their own, the same for any number of processes, until the mean is certain to
        `CENTRED_TO` or `CENTRED_ON` of them are read: beside a standard deviation among all responses, that among
        demonstrations is often small. Returns how many were read.
        """
        self.scorer.reward_mean = 0.0
        spread = self.val_metrics.get("val/score_std", 0.0)
        chosen = Random("demonstrations").sample(list(rows), min(len(rows), CENTRED_ON))
        total = square = 0.0
        read = 0
        with ProgressBar("centring the scores", len(chosen)) as progress:
            while read < len(chosen):
                block = chosen[read : read + BLOCK]
                mean, mean_square = self._moments(block)
                total, square = total + mean * len(block), square + mean_square * len(block)
                read += len(block)
                progress(read)
                variance = max(0.0, square / read - (total / read) ** 2)
                if math.sqrt(variance / read) < CENTRED_TO * spread:
                    break
        self.scorer.reward_mean = total / read
        return read

    def _moments(self, rows: Sequence[Row]) -> tuple[float, float]:
        """Means of the scores and of their squares, over all processes."""
        means = Means()
        for micro in cut(rows, self.config.train.tokens_per_microbatch, self.data_rank, self.data_ranks):
            scores, found = Means(), self.scorer(collate(micro.rows).to(self.device))
            scores.add("score", found)
            scores.add("square", found.double().square())
            means.merge(scores if micro.live else scores.zeroed())
        reduced = means.reduce(self.all_reduce)
        return reduced["score"], reduced["square"]
