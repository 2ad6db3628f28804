"""KTO (Ethayarajh et al. 2024): labelled answers, and a KL that is estimated once for the whole optimisation batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from lightning_modules.parts import Parts
from lightning_modules.preference.against_reference import AgainstReference
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.sequence_logprobs import response_logprobs
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Micro, Step, cut, equalise
from lightning_modules.updates.optimise import Term, optimise
from rlhf.config import TrainConfig
from rlhf.config.algorithms.kto import KTOConfig
from rlhf.data.batch import Batch, collate
from rlhf.data.mismatched import mismatched
from rlhf.data.rows import Row
from rlhf.errors import DataError
from rlhf.models.language import LanguageModel
from rlhf.objectives.preference.bradley_terry import accuracy
from rlhf.objectives.preference.kto import KTOResult, kl_estimate, kto

log = logging.getLogger("rlhf")

BALANCED = (1.0, 4 / 3)
"""λ_D·n_D over λ_U·n_U, as the paper recommends it (equation 9)."""


def labelled_responses(batch: Batch) -> float:
    """Weight of losses that are averaged per labelled response."""
    return float(batch.n_responses)


class KTOModule(AgainstReference):
    """KTO loss per labelled response, averaged over those of the optimisation batch.

    The KL z0 is a mean over mismatched pairs of the whole optimisation batch, on all ranks: it is computed first, in a
    pass without gradients, and then every loss of the step uses that number. Who is matched with whom is fixed, so that
    the reference's log-probabilities of mismatched pairs are computed once, as those of labelled responses are.

    Args:
        known: labelled rows by split.
    """

    headline = ("train/loss", "train/kl", "val/accuracy")

    def __init__(self, config: TrainConfig, total_steps: int, policy: LanguageModel, known: Reference) -> None:
        assert isinstance(config.algo, KTOConfig)
        others: dict[str, list[Row]] = {}
        if config.algo.loss == "kto":
            limit, seed = config.data.max_length, config.data.seed
            others = {split: mismatched(rows, limit, seed) for split, rows in known.rows.items()}
            if others.get("train") == []:
                raise DataError(
                    f"data={config.data.name}: algo.loss=kto estimates a KL from answers to other prompts, but all "
                    "prompts are the same; pass algo.loss=apo_zero_unpaired"
                )
        super().__init__(config, total_steps, policy, known.beside({_other(split): o for split, o in others.items()}))
        self.algo: KTOConfig = config.algo
        self.estimates = self.algo.loss == "kto"
        self.others = {split: {row.index: row for row in rows} for split, rows in others.items()}
        self._val_ratios: list[tuple[Tensor, Tensor]] = []

    @classmethod
    def build(cls, parts: Parts) -> Self:
        return cls(parts.config, parts.total_steps, parts.policy(), parts.reference_logprobs())

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.global_rank == 0 and (said := unbalanced(self.algo, self.known.rows.get("train", ()))):
            log.warning("%s", said)

    # -- the estimate ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def mismatched_ratios(self, rows: Sequence[Row], split: str) -> Means:
        """`kl`: mean of log π − log π_ref over mismatched pairs (nats), in one micro-batch."""
        batch = collate(rows).to(self.device)
        theirs = self.reference_sums(batch, _other(split))
        ours = response_logprobs(self.policy, batch)
        means = Means()
        means.add("kl", ours - theirs.to(ours))
        return means

    def estimate(self, step: Step) -> float:
        """z0 of an optimisation batch (nats): the same number on all ranks, however the batch is cut."""
        others = self.others["train"]
        mine = [others[row.index] for micro in step.micros if micro.live for row in micro.rows]
        spare = [others[row.index] for row in step.rows[:1]]
        means = Means()
        for micro in equalise(cut(mine, self.config.train.tokens_per_microbatch), spare):
            found = self.mismatched_ratios(micro.rows, "train")
            means.merge(found if micro.live else found.zeroed())
        return kl_estimate(means.reduce(self.all_reduce)["kl"])

    # -- the loss --------------------------------------------------------------------------------------------------

    def losses(self, ours: Tensor, theirs: Tensor, desirable: Tensor, kl: float) -> KTOResult:
        return kto(
            ours,
            theirs,
            desirable,
            kl,
            beta=self.algo.beta,
            desirable_weight=self.algo.desirable_weight,
            undesirable_weight=self.algo.undesirable_weight,
            loss=self.algo.loss,  # type: ignore[arg-type]
        )

    def learn(self, step: Step) -> dict[str, float]:
        kl = self.estimate(step) if self.estimates else 0.0

        def loss_sum(batch: Batch) -> tuple[Tensor, Means]:
            ours = response_logprobs(self.policy, batch)
            theirs = self.reference_sums(batch, "train").to(ours)
            result = self.losses(ours, theirs, batch.desirable, kl)
            return result.losses.sum(), report(result, batch.desirable, self.algo.beta * kl)

        metrics = optimise(self, [Term(step.micros, loss_sum, labelled_responses)])
        return balanced(metrics) | ({"kl": kl} if self.estimates else {})

    # -- validation: z0 is known once all held-out rows are seen ---------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._val_ratios = []

    def measure(self, batch: Batch) -> Means:
        ours = response_logprobs(self.policy, batch)
        self._val_ratios.append((ours - self.reference_sums(batch, "val").to(ours), batch.desirable))
        others = self.others.get("val")
        return self.mismatched_ratios([others[i] for i in batch.row_index.tolist()], "val") if others else Means()

    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        super().validation_step(micro, batch_idx)
        if not micro.live:
            self._val_ratios.pop()

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        kl = kl_estimate(metrics["kl"]) if "kl" in metrics else 0.0
        nothing = torch.zeros(0, device=self.device), torch.zeros(0, dtype=torch.bool, device=self.device)
        ratios, desirable = (torch.cat(column) for column in zip(nothing, *self._val_ratios, strict=True))
        result = self.losses(ratios, torch.zeros_like(ratios), desirable, kl)
        means = report(result, desirable, self.algo.beta * kl)
        means.add("loss", result.losses)
        found = balanced(means.reduce(self.all_reduce))
        return found | ({"kl": kl} if self.estimates else {}) if math.isfinite(found["loss"]) else {}


def _other(split: str) -> str:
    return f"{split} mismatched"


def report(result: KTOResult, desirable: Tensor, threshold: float) -> Means:
    """Rewards and accuracy of either kind of response: right is what is rewarded above β·z0, or below it."""
    means = Means()
    point = torch.full_like(result.rewards, threshold)
    good, bad = desirable.double(), (~desirable).double()
    means.add("desirable_reward", result.rewards, good)
    means.add("undesirable_reward", result.rewards, bad)
    means.add("desirable_accuracy", accuracy(result.rewards, point), good)
    means.add("undesirable_accuracy", accuracy(point, result.rewards), bad)
    return means


def balanced(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics with `accuracy`, the mean over both labels, so that a rare label counts as much; and the margin."""
    found = [metrics[f"{name}_accuracy"] for name in ("desirable", "undesirable")]
    known = [value for value in found if math.isfinite(value)]
    margin = metrics["desirable_reward"] - metrics["undesirable_reward"]
    # A batch may hold one kind alone; a number that is none would only look like a fault.
    kept = {name: value for name, value in metrics.items() if not math.isnan(value) or name == "loss"}
    return kept | {"accuracy": sum(known) / max(1, len(known))} | ({"margin": margin} if math.isfinite(margin) else {})


def unbalanced(algo: KTOConfig, rows: Sequence[Row]) -> str | None:
    """A warning for weights under which one label counts far more than the other; `None`: they are balanced."""
    labels = [label for row in rows for label in row.labels]
    good, bad = sum(labels), len(labels) - sum(labels)
    if not labels:
        return None
    if not good or not bad:
        return f"data: all {len(labels)} labels are {'un' if bad else ''}desirable; KTO needs both"
    low, high = BALANCED
    ratio = algo.desirable_weight * good / max(algo.undesirable_weight * bad, 1e-9)
    # A little outside is no fault: labels are counted before any of them is weighed against its prompt.
    if 0.8 * low <= ratio <= 1.25 * high:
        return None
    side, weight = (
        ("desirable", low * algo.undesirable_weight * bad / good)
        if ratio < low
        else ("undesirable", algo.desirable_weight * good / (high * bad))
    )
    return (
        f"algo.{side}_weight: {good} answers are labelled desirable and {bad} undesirable; {weight:.2g} would "
        "balance them as Ethayarajh et al. 2024 recommend"
    )
