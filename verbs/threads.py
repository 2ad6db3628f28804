"""How many CPU threads PyTorch uses."""

from __future__ import annotations

import torch
from torch import nn

from rlhf.config import StrategyConfig
from rlhf.config.sections import SMALL_MODEL
from rlhf.models.language import count_parameters

PYTORCH = torch.get_num_threads()
"""PyTorch's own choice, which follows the cores and OMP_NUM_THREADS."""


def use_threads(strategy: StrategyConfig, model: nn.Module | None = None) -> None:
    """As `strategy.threads` says; where it says nothing, by the size of the model that will do most of the work.

    The number follows from configuration and model alone, never from how busy the machine is: sums are added in
    portions of the threads, so that another number gives other last bits, and a resumed run must end with the same.
    """
    small = model is not None and count_parameters(model) < SMALL_MODEL
    torch.set_num_threads(strategy.threads or (1 if small else PYTORCH))
