"""Plain passes of `transformers`, which layouts and decoders are compared with: one text at a time, no cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlhf.data.rows import Row


def plain(hf: Any) -> Any:
    """A copy as `transformers` has it, in evaluation mode, with the attention that all others are meant to equal."""
    hf = copy.deepcopy(hf).eval()
    if hf._can_set_attn_implementation():
        hf.set_attn_implementation("eager")
    return hf


def plain_logprobs(hf: Any, rows: Sequence[Row]) -> Tensor:
    """Log-probabilities [N] of all responses' tokens, in the order of a batch's targets."""
    found = []
    for row in rows:
        for response in row.responses:
            logits = hf(input_ids=torch.tensor([row.prompt + response]), use_cache=False).logits[0].float()
            chosen = logits.log_softmax(-1)[len(row.prompt) - 1 : -1]
            found.append(chosen.gather(-1, torch.tensor(response)[:, None])[:, 0])
    return torch.cat(found)
