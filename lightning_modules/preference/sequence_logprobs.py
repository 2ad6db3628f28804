"""Log-probabilities of whole responses, which preference losses compare."""

from __future__ import annotations

import torch
from torch import Tensor

from rlhf.data.batch import Batch
from rlhf.models.language import LanguageModel


def response_lengths(batch: Batch) -> Tensor:
    """Tokens of each response, end-of-text included: [R], long."""
    return torch.bincount(batch.target_response, minlength=batch.n_responses)


def response_sums(tokens: Tensor, batch: Batch) -> Tensor:
    """Sums over each response, [R], of a number for each of its tokens, [N]."""
    # In the order of the tokens: on a GPU index_add adds in any order, and a resumed run would end with other bits.
    return torch.segment_reduce(tokens, "sum", lengths=response_lengths(batch), unsafe=True)


def response_logprobs(policy: LanguageModel, batch: Batch) -> Tensor:
    """Σ log π(token | prompt, earlier tokens) of each response, end-of-text included: [R] nats."""
    return response_sums(policy(batch).logprobs, batch)
