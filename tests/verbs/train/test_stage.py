"""What happens around Lightning's own loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from verbs.train import stage


class Module(nn.Linear):
    def __init__(self, layout: str) -> None:
        super().__init__(2, 2)
        self.config = SimpleNamespace(strategy=SimpleNamespace(layout=layout))


@pytest.mark.parametrize(("layout", "kind"), [("single", "meta"), ("ddp", "meta"), ("fsdp", "cpu"), ("zero2", "cpu")])
def test_weights_are_on_their_device_after_training(layout: str, kind: str) -> None:
    """Lightning moves them to the CPU at the end, but for shards, which stay where they are."""
    module: Any = Module(layout)
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    stage.back_on_device(module, trainer)
    assert module.weight.device.type == kind
