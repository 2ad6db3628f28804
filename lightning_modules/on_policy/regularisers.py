"""What the loss of a policy has beside its samples: an entropy bonus, and the KL with `algo.kl_in=loss`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lightning_modules.on_policy.scoring import Scorers
from rlhf.config import OnPolicyConfig
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.models.logprobs import TokenStats
from rlhf.models.parallel.sharding import gathered
from rlhf.objectives.kl import k2, k3, weighted_k3
from rlhf.rollout.episodes import Episodes


class Regularisers:
    """Reads what they need of policy and reference, and adds them to a loss.

    Args:
        scorers: hold the reference.
    """

    def __init__(self, algo: OnPolicyConfig, scorers: Scorers) -> None:
        self.algo, self.scorers = algo, scorers

    @property
    def full_kl(self) -> bool:
        """Whether the loss has the KL over the whole vocabulary."""
        return self.algo.kl_in == "loss" and self.algo.kl_estimator == "full"

    def reference_head(self) -> AbstractContextManager[None]:
        """For the full KL the reference's head is read outside of its forward pass, in backward passes too."""
        model = self.scorers.reference
        return gathered(model, root_only=True) if self.full_kl and model is not None else nullcontext()

    def policy_stats(self, policy: LanguageModel, batch: Batch) -> TokenStats:
        """The policy's log-probabilities of a micro-batch's tokens, with entropy and full KL where the loss needs
        them."""
        reference = None
        if self.full_kl:
            model = self.scorers.reference
            assert model is not None
            with torch.no_grad():
                reference = (model.target_states(batch), model.head)
        return policy(
            batch,
            temperature=self.scorers.temperature,
            want_entropy=self.algo.entropy_coef != 0,
            reference=reference,
        )

    def added(
        self,
        loss: Tensor,
        stats: TokenStats,
        episodes: Episodes,
        batch: Batch,
        kl_price: float,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss − entropy_coef · entropy + kl_price · KL, the latter with `algo.kl_in=loss`.

        Args:
            kl_price: what a nat costs, in the unit of the advantages in the loss.
            weights: [N], of each token; 1 each if not given.
        """
        if stats.entropy is not None:
            loss = loss - self.algo.entropy_coef * _total(stats.entropy, weights)
        if self.algo.kl_in == "loss":
            loss = loss + kl_price * _total(self.kl_of(stats, episodes, batch), weights)
        return loss

    def kl_of(self, stats: TokenStats, episodes: Episodes, batch: Batch) -> Tensor:
        """KL to the reference at each of the batch's tokens [N], by `algo.kl_estimator`."""
        if stats.kl is not None:
            return stats.kl
        reference = episodes.flat("reference_logprobs", batch)
        if self.algo.kl_estimator == "weighted_k3":
            return weighted_k3(stats.logprobs, reference, episodes.flat("logprobs", batch))
        return {"k2": k2, "k3": k3}[self.algo.kl_estimator](stats.logprobs, reference)


def _total(x: Tensor, weights: Tensor | None) -> Tensor:
    return x.sum() if weights is None else (x * weights).sum()
