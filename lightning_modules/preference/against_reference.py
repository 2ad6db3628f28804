"""What modules share that compare the policy with a reference whose log-probabilities are computed once."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lightning_modules.base import StageModule
from lightning_modules.preference.reference import Reference
from lightning_modules.preference.sequence_logprobs import response_sums
from lightning_modules.updates.micro_batches import cut
from rlhf.config import TrainConfig
from rlhf.data.batch import Batch, collate
from rlhf.errors import TrainingError
from rlhf.models.language import LanguageModel, freeze
from rlhf.progress import ProgressBar

log = logging.getLogger("rlhf")


class AgainstReference(StageModule):
    """A policy, and a frozen reference's log-probabilities of the rows that it learns from.

    The reference is the policy before its first update, unless `algo.reference_model` names another model. What it
    says of every row is computed once, kept on disk, and read from there after a resume: the reference model itself
    need not stay in memory.

    Args:
        known: all rows that training and validation will ask for, and where what the reference says of them is kept.
    """

    def __init__(self, config: TrainConfig, total_steps: int, policy: LanguageModel, known: Reference) -> None:
        super().__init__(config, total_steps)
        self.policy = policy
        self.known = known
        self.reference: dict[str, Tensor] = {}

    def trained(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def reference_sums(self, batch: Batch, split: str) -> Tensor:
        """Σ log π_ref(token | prompt, earlier tokens) of each response of a batch of `split`'s rows: [R] nats.

        Where `known` is per token, it is not summed: [N].
        """
        return torch.cat([self.reference[f"{split}/{i}"] for i in batch.row_index.tolist()])

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.prepare_reference()

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self.prepare_reference()

    def prepare_reference(self) -> None:
        """Fill `reference`: log-probabilities (nats) of a row's responses or of their tokens, by `split/row index`.

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
        elif self.step > 0 and self.known.load is None:
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
        model = self.policy
        if self.known.load is not None:
            model = self.known.load().to(self.device)
            freeze(model)
        for split, rows in self.known.rows.items():
            micros = cut(rows, self.config.train.tokens_per_microbatch, self.data_rank, self.data_ranks)
            with ProgressBar(f"reference ({split})", len(micros)) as progress:
                for micro in micros:
                    batch = collate(micro.rows).to(self.device)
                    # Lightning's hooks run outside of autocast: a reference in fp32 is not the policy's own in bf16.
                    with self.trainer.precision_plugin.forward_context():
                        tokens = model(batch).logprobs
                    said = (tokens if self.known.per_token else response_sums(tokens, batch)).cpu()
                    sizes = [
                        sum(lengths) if self.known.per_token else len(lengths) for lengths in batch.response_lengths
                    ]
                    for row, part in zip(micro.rows, said.split(sizes), strict=True):
                        found[f"{split}/{row.index}"] = part.clone()
                    progress(progress.done + 1)
        if self.world_size > 1:
            shares: list[dict[str, Tensor]] = [{} for _ in range(self.world_size)]
            torch.distributed.all_gather_object(shares, found)
            found = {name: sums for share in shares for name, sums in share.items()}
        return found
