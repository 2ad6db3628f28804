"""What tests of tiny models of many families share."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.families import Tokens
from rlhf.data.rows import Row

ROWS = [
    Row(tuple(range(5, 14)), ((20, 21, 22, 23, 24), (30, 31, 32, 33, 34, 35, 36, 37))),
    Row((40, 41, 42, 43), (tuple(range(50, 60)),)),
    Row((60, 61, 62), (tuple(range(70, 90)), (11, 12, 13), (14, 15))),
]


FEW: Any = Tokens()


def louder(hf: Any) -> None:
    """Weights large enough that attention, position and state matter."""
    with torch.no_grad():
        for weight in hf.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
