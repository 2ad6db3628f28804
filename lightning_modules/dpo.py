"""Direct preference optimisation (Rafailov et al. 2023) from reference log-probabilities that are computed once."""

from __future__ import annotations

import logging
from typing import Self

import torch
from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.parts import Parts
from lightning_modules.reference import Reference
from lightning_modules.updates.averages import Means
from lightning_modules.updates.micro_batches import Step, cut
from lightning_modules.updates.optimise import Term, optimise, prompts_with_pairs
from rlhf.config import DPOConfig, TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.errors import TrainingError
from rlhf.models.language import LanguageModel
from rlhf.models.selection import select
from rlhf.objectives.preference import DPOResult, accuracy, dpo
from rlhf.progress import ProgressBar

log = logging.getLogger("rlhf")


def response_logprobs(policy: LanguageModel, batch: Batch) -> Tensor:
    """Σ log π(token | prompt, earlier tokens) of each response, end-of-text included: [R] nats."""
    logprobs = policy(batch).logprobs
    lengths = torch.bincount(batch.target_response, minlength=batch.n_responses)
    # In the order of the tokens: on a GPU index_add adds in any order, and a resumed run would end with other bits.
    return torch.segment_reduce(logprobs, "sum", lengths=lengths, unsafe=True)


class DPOModule(StageModule):
    """DPO, cDPO, IPO or hinge loss per pair, averaged within a prompt, then over prompts.

    The reference is the policy before its first update. What it says of every row is computed once, kept on disk,
    and read from there after a resume: the reference model itself need not stay in memory.

    Args:
        known: all rows that training and validation will ask for, and where what the reference says of them is kept.
    """

    headline = ("train/loss", "train/accuracy", "val/accuracy")

    def __init__(
        self,
        config: TrainConfig,
        total_steps: int,
        policy: LanguageModel,
        known: Reference,
    ) -> None:
        super().__init__(config, total_steps)
        assert isinstance(config.algo, DPOConfig)
        self.algo: DPOConfig = config.algo
        self.policy = policy
        self.known = known
        self.reference: dict[str, Tensor] = {}

    @classmethod
    def build(cls, parts: Parts) -> Self:
        return cls(parts.config, parts.total_steps, parts.policy(), parts.reference_logprobs())

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.prepare_reference()

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self.prepare_reference()

    def prepare_reference(self) -> None:
        """Fill `reference`: summed response log-probabilities (nats) [K] by `split/row index`.

        Raises:
            TrainingError: the run is under way, so the policy is no longer the reference, and the file is lost.
        """
        if self.reference:
            return
        self.reference = self.known.stored() or self._found_or_computed()

    def _found_or_computed(self) -> dict[str, Tensor]:
        """From the cache, else by a pass over the rows; kept for the next time."""
        cached = self._agreed(self.known.shared())
        if cached is not None:
            log.info("reference log-probabilities: from %s", self.known.cache)
        elif self.step > 0:
            raise TrainingError(
                f"{self.known.store}: the reference log-probabilities are gone, and the policy has changed since; "
                "start again in a new directory"
            )
        found = self.compute_reference() if cached is None else cached
        if self.global_rank == 0:
            self.known.keep(found, cached is not None)
        return found

    def _agreed(self, found: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """`found` if every process found it: another run may be writing it at this moment, and all compute, or none."""
        if torch.distributed.is_initialized():
            everywhere = [False] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everywhere, found is not None)
            return found if all(everywhere) else None
        return found

    @torch.no_grad()
    def compute_reference(self) -> dict[str, Tensor]:
        """One pass over all rows, in micro-batches of the whole data set: a step's own would depend on the step."""
        found: dict[str, Tensor] = {}
        for split, rows in self.known.rows.items():
            micros = cut(rows, self.config.train.tokens_per_microbatch, self.data_rank, self.data_ranks)
            with ProgressBar(f"reference ({split})", len(micros)) as progress:
                for micro in micros:
                    batch = collate(micro.rows).to(self.device)
                    # Lightning's hooks run outside of autocast: a reference in fp32 is not the policy's own in bf16.
                    with self.trainer.precision_plugin.forward_context():
                        sums = response_logprobs(self.policy, batch).cpu()
                    for row, part in zip(micro.rows, sums.split([len(r.responses) for r in micro.rows]), strict=True):
                        found[f"{split}/{row.index}"] = part.clone()
                    progress(progress.done + 1)
        if self.world_size > 1:
            shares: list[dict[str, Tensor]] = [{} for _ in range(self.world_size)]
            torch.distributed.all_gather_object(shares, found)
            found = {name: sums for share in shares for name, sums in share.items()}
        return found

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def compare(self, batch: Batch, split: str) -> tuple[DPOResult, Tensor, Tensor]:
        """Losses of the batch's P pairs, and the log-probabilities of chosen and rejected, [P] each."""
        logprobs = response_logprobs(self.policy, batch)
        theirs = torch.cat([self.reference[f"{split}/{i}"] for i in batch.row_index.tolist()]).to(logprobs)
        chosen, rejected = batch.pairs[:, 0], batch.pairs[:, 1]
        picked = select(logprobs, chosen), select(logprobs, rejected)
        lengths = torch.bincount(batch.target_response, minlength=batch.n_responses)
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
