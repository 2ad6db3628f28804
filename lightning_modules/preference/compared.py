"""What policy and reference say of a batch's pairs, which every loss of the DPO family takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_modules.preference.sequence_logprobs import response_lengths, response_sums
from rlhf.data.batch import Batch
from rlhf.models.logprobs import TokenStats
from rlhf.models.selection import select
from rlhf.objectives.preference.pair_weights import desensitised, wpo_weights
from rlhf.objectives.preference.sorted_pairs import Sides


@dataclass(frozen=True)
class Compared:
    """Log-probabilities (nats) of the chosen and the rejected response of each pair, (chosen, rejected), [P] each.

    Attributes:
        policy, reference: summed over each response; with `ld_alpha` its surplus over the other one counts less.
        plain: of the policy, summed without weights.
        lengths: tokens of each response.
        counts: how much each pair counts by WPO, [P]; `None` where that was not asked for.
    """

    policy: tuple[Tensor, Tensor]
    reference: tuple[Tensor, Tensor]
    plain: tuple[Tensor, Tensor]
    lengths: tuple[Tensor, Tensor]
    counts: Tensor | None = None

    def sides(self, loss: str) -> Sides:
        """What a loss that sorts compares: see `rlhf.objectives.preference.sorted_pairs.aot`."""
        (chosen, rejected), (chosen_before, rejected_before) = self.policy, self.reference
        if loss == "aot":
            return Sides(chosen - rejected, chosen_before - rejected_before)
        return Sides(chosen - chosen_before, rejected - rejected_before)


def compared(stats: TokenStats, reference: Tensor, batch: Batch, ld_alpha: float | None = None) -> Compared:
    """Sums over responses, pair by pair.

    Args:
        stats: of the policy; WPO's weights are taken where it has `log_squares`.
        reference: of responses, [R]; with `ld_alpha`, of tokens, [N].
        ld_alpha: see `rlhf.objectives.preference.pair_weights.desensitised`.
    """
    chosen, rejected = batch.pairs.unbind(-1)
    lengths = response_lengths(batch)
    sums = response_sums(stats.logprobs, batch)
    plain = select(sums, chosen), select(sums, rejected)
    policy, before = plain, (select(reference, chosen), select(reference, rejected))
    if ld_alpha is not None:
        policy, before = (_desensitised(said, batch, ld_alpha) for said in (stats.logprobs, reference))
    counts = None
    if stats.log_squares is not None:
        aligned = response_sums(stats.logprobs.detach() - stats.log_squares, batch)
        counts = wpo_weights(aligned[chosen], aligned[rejected], lengths[chosen], lengths[rejected])
    return Compared(policy, before, plain, (lengths[chosen], lengths[rejected]), counts)


def _desensitised(said: Tensor, batch: Batch, alpha: float) -> tuple[Tensor, Tensor]:
    chosen, rejected = batch.pairs.unbind(-1)
    tokens, mask, lengths = batch.pad_responses(said), batch.response_mask(), response_lengths(batch)
    return (
        desensitised(select(tokens, chosen), mask[chosen], lengths[rejected], alpha),
        desensitised(select(tokens, rejected), mask[rejected], lengths[chosen], alpha),
    )
