"""Direct preference optimisation and its family, from reference log-probabilities that are computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_modules.parts import Parts
from lightning_modules.preference.against_reference import AgainstReference
from lightning_modules.preference.compared import Compared, compared
from lightning_modules.preference.live_reference import LiveReference
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.whole_batch import WholeBatch, numbers
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Micro, Step
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.errors import DataError
from rlhf.models.language import LanguageModel
from rlhf.objectives.preference.bradley_terry import accuracy
from rlhf.objectives.preference.dpo import dpo
from rlhf.objectives.preference.pair_losses import chosen_nll
from rlhf.objectives.preference.sorted_pairs import Sides, aot


class DPOModule(AgainstReference):
    """The losses of `algo.loss` per pair, weighted and added up, averaged within a prompt, then over prompts.

    Args:
        live: the reference itself, where it is moved while the policy learns (`algo.reference_sync_steps`).
    """

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        known: Reference,
        live: LanguageModel | None = None,
    ) -> None:
        super().__init__(config, total_steps, policy, known)
        assert isinstance(config.algo, DPOConfig)
        self.algo: DPOConfig = config.algo
        self.live = None if live is None else LiveReference(live, self.algo.reference_mixup)
        self.rewards_seen = [0.0, 0.0]
        """Sum and weight of the mean rewards of all updates so far, for the shift of `bco_pair`."""
        self.whole: dict[str, WholeBatch] = {}
        self._val_numbers: dict[str, list[Tensor]] = {}

    @classmethod
    def build(cls, parts: Parts) -> Self:
        algo = parts.config.algo
        assert isinstance(algo, DPOConfig)
        known = parts.reference_logprobs(per_token=algo.ld_alpha is not None)
        if algo.margin_coef > 0:
            check_margins(known)
        live = parts.reference() if algo.reference_sync_steps is not None else None
        return cls(parts.config, parts.total_steps, parts.policy(), known, live)

    # -- the reference ---------------------------------------------------------------------------------------------

    def frozen(self) -> dict[str, nn.Module]:
        return {} if self.live is None else {"reference": self.live.model}

    def prepare_reference(self) -> None:
        """See `AgainstReference`; a live reference is asked as it goes."""
        if self.live is None:
            super().prepare_reference()

    def reference_sums(self, batch: Batch, split: str) -> Tensor:
        if self.live is None:
            return super().reference_sums(batch, split)
        return self.live.said(batch, self.known.per_token)

    # -- losses ----------------------------------------------------------------------------------------------------

    @property
    def beta(self) -> float:
        return self.algo.beta_at(self.step, self.total_steps)

    @property
    def reward_shift(self) -> float:
        """δ of `bco_pair`: the mean reward in all updates before this one; 0 at first, as all rewards are."""
        total, weight = self.rewards_seen
        return total / weight if weight and self.algo.bco_shift == "running" else 0.0

    def look(self, batch: Batch, split: str) -> Compared:
        stats = self.policy(batch, want_log_squares=self.algo.weighting == "wpo")
        reference = self.reference_sums(batch, split).to(stats.logprobs)
        return compared(stats, reference, batch, self.algo.ld_alpha)

    def losses(self, name: str, found: Compared, batch: Batch) -> Tensor:
        """One loss of the mixture, [P]."""
        algo = self.algo
        if name == "sft":
            return chosen_nll(found.plain[0], found.lengths[0])
        if name in algo.SORTED:
            return self.whole[name].losses(found.sides(name), batch)
        losses = dpo(
            *found.policy,
            *found.reference,
            beta=self.beta,
            loss=name,  # type: ignore[arg-type]
            label_smoothing=algo.label_smoothing,
            chosen_lengths=found.lengths[0],
            rejected_lengths=found.lengths[1],
            divergence=algo.divergence,  # type: ignore[arg-type]
            divergence_alpha=algo.divergence_alpha,
            margin=algo.margin_coef * batch.pair_margins if algo.margin_coef > 0 else None,
            reward_shift=self.reward_shift,
            discopop_tau=algo.discopop_tau,
        ).losses
        return losses if found.counts is None else losses * found.counts

    def mixed(self, found: Compared, batch: Batch, means: Means, but: Sequence[str] = ()) -> Tensor:
        """The weighted sum of the losses, [P], `but` for some; each is reported where there are several."""
        mixture = self.algo.mixture()
        parts = {name: self.losses(name, found, batch) for name, _ in mixture if name not in but}
        if len(mixture) > 1:
            for name, losses in parts.items():
                means.add(f"loss_{name}", losses, batch.pair_weights)
        weighted = [weight * parts[name] for name, weight in mixture if name in parts]
        return torch.stack(weighted).sum(0) if weighted else torch.zeros_like(found.policy[0])

    def report(self, found: Compared, batch: Batch) -> Means:
        weights, means = batch.pair_weights, Means()
        rewards = [self.beta * (ours - theirs) for ours, theirs in zip(found.policy, found.reference, strict=True)]
        means.add("accuracy", accuracy(*rewards), weights)
        means.add("margin", rewards[0] - rewards[1], weights)
        for side, reward, logprob in zip(("chosen", "rejected"), rewards, found.policy, strict=True):
            means.add(f"{side}_reward", reward, weights)
            means.add(f"{side}_logprob", logprob, weights)
        if found.counts is not None:
            means.add("pair_weight", found.counts, weights)
        return means

    def loss_sum(self, batch: Batch) -> tuple[Tensor, Means]:
        found = self.look(batch, "train")
        means = self.report(found, batch)
        losses = self.mixed(found, batch, means)
        means.total("prompts", batch.pair_weights.sum())
        return (losses * batch.pair_weights).sum(), means

    # -- a step ----------------------------------------------------------------------------------------------------

    def learn(self, step: Step) -> dict[str, float]:
        if sorts := self.algo.sorts():
            self.prepare_sorted(sorts, step.micros)
        metrics = optimise(self, [Term(step.micros, self.loss_sum, prompts_with_pairs)])
        if any(name == "bco_pair" for name, _ in self.algo.mixture()):
            metrics["reward_shift"] = self.reward_shift
        prompts = metrics.pop("prompts")
        seen = 0.5 * (metrics["chosen_reward"] + metrics["rejected_reward"])
        if math.isfinite(seen):  # else the update was skipped, and counts for nothing
            self.rewards_seen = [self.rewards_seen[0] + prompts * seen, self.rewards_seen[1] + prompts]
        if self.live is not None and (self.step + 1) % (self.algo.reference_sync_steps or 1) == 0:
            self.live.follow(self.policy)
        return metrics

    @torch.no_grad()
    def prepare_sorted(self, names: Sequence[str], micros: Sequence[Micro]) -> None:
        """A pass over the optimisation batch without gradients, for what compares all of its pairs."""
        seen: dict[str, list[Tensor]] = {name: [] for name in names}
        for micro in micros:
            batch = collate(micro.rows).to(self.device)
            found = self.look(batch, "train")
            for name in names if micro.live else ():
                seen[name].append(numbers(found.sides(name), batch))
        for name, tables in seen.items():
            self.whole[name] = WholeBatch(self, tables)
            self.whole[name].solve(self.of_sorted)

    def of_sorted(self, sides: Sides, weights: Tensor) -> Tensor:
        return aot(sides, weights, self.beta, self.algo.label_smoothing)

    # -- validation ------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._val_numbers = {name: [] for name in self.algo.sorts()}

    def measure(self, batch: Batch) -> Means:
        found = self.look(batch, "val")
        means = self.report(found, batch)
        means.add("loss", self.mixed(found, batch, means, but=self.algo.sorts()), batch.pair_weights)
        for name, tables in self._val_numbers.items():
            tables.append(numbers(found.sides(name), batch))
        return means

    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        super().validation_step(micro, batch_idx)
        if not micro.live:
            for tables in self._val_numbers.values():
                tables.pop()

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        """Add the losses that sort, over all held-out pairs at once."""
        for name, tables in self._val_numbers.items() if metrics else ():
            loss = WholeBatch(self, tables).mean(self.of_sorted)
            metrics["loss"] += dict(self.algo.mixture())[name] * loss
            if len(self.algo.mixture()) > 1:
                metrics[f"loss_{name}"] = loss
        return metrics

    # -- saving ----------------------------------------------------------------------------------------------------

    def extra_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"rewards_seen": list(self.rewards_seen)}
        return state if self.live is None else state | {"reference": self.live.state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.rewards_seen = [float(x) for x in state.get("rewards_seen", (0.0, 0.0))]
        if self.live is not None:
            self.live.load(state["reference"])


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
