"""What tests of tiny models of many families share."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.families.configurations import Tokens

FEW: Any = Tokens()


def louder(hf: Any) -> None:
    """Weights large enough that attention, position and state matter."""
    with torch.no_grad():
        for weight in hf.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
