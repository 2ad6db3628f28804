"""A reference that follows the policy while it learns (TR-DPO, Gorbatovski et al. 2024), and so stays in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from lightning_modules.preference.sequence_logprobs import response_sums
from lightning_modules.updates.state import share_of
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel
from rlhf.models.parallel.sharding import settle


class LiveReference:
    """A frozen model of the policy's architecture. It is no module: checkpoints save it apart, by `state`.

    Args:
        mixup: share of the policy's weights in the reference's, each time that it follows; 1: all of them.
    """

    def __init__(self, model: LanguageModel, mixup: float) -> None:
        self.model, self.mixup = model, mixup

    @torch.no_grad()
    def said(self, batch: Batch, per_token: bool = False) -> Tensor:
        """Log-probabilities (nats) of responses, [R], or of their tokens, [N]."""
        tokens = self.model(batch).logprobs
        return tokens if per_token else response_sums(tokens, batch)

    @torch.no_grad()
    def follow(self, policy: LanguageModel) -> None:
        """θ_ref ← α·θ + (1 − α)·θ_ref. All ranks call it together."""
        settle([policy, self.model])
        for theirs, ours in zip(self.model.parameters(), policy.parameters(), strict=True):
            theirs.lerp_(ours.to(theirs.dtype), self.mixup)

    def state(self) -> dict[str, Tensor]:
        """Whole weights by name, on the CPU; all ranks call it together."""
        settle([self.model])
        found = ((name, p.full_tensor() if isinstance(p, DTensor) else p) for name, p in self._named())
        return {name: p.detach().cpu() for name, p in found}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`, on any layout."""
        for name, p in self._named():
            p.copy_(share_of(state[name], p))

    def _named(self) -> list[tuple[str, Tensor]]:
        return list(self.model.named_parameters())
