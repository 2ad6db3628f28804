"""CPU threads: by what was asked for, else by the size of the model, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from rlhf.config import StrategyConfig
from verbs import threads
from verbs.threads import use_threads


@pytest.fixture(autouse=True)
def choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's own choice is three threads."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "PYTORCH", 3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "width", "found"), [(None, 100, 1), (None, 1500, 3), (None, None, 3), (2, 100, 2), (2, 1500, 2)]
)
def test_threads(asked: int | None, width: int | None, found: int) -> None:
    model = nn.Linear(width, width, device="meta") if width is not None else None
    use_threads(StrategyConfig(threads=asked), model)
    assert torch.get_num_threads() == found
