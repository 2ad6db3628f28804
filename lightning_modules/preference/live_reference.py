"""A reference that follows the policy while it learns (TR-DPO, Gorbatovski et al. 2024), and so stays in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.preference.sequence_logprobs import response_sums
from lightning_modules.updates.moving_weights import MovingReference
from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel


class LiveReference(MovingReference):
    """What a reference that moves says of the rows of an update."""

    model: LanguageModel

    @torch.no_grad()
    def said(self, batch: Batch, per_token: bool = False) -> Tensor:
        """Log-probabilities (nats) of responses, [R], or of their tokens, [N]."""
        tokens = self.model(batch).logprobs
        return tokens if per_token else response_sums(tokens, batch)
