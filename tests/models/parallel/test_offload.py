from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rlhf.models.parallel import offload
from rlhf.models.parallel.offload import offloaded


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "SMALLEST", 8)


def gradients(model: nn.Module, kind: str) -> tuple[list[Tensor], int]:
    """Gradients, and how many tensors were copied; the processor plays the device."""
    copied = []
    empty = torch.empty_like
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch, offloaded(model.parameters(), kind):
        patch.setattr(torch, "empty_like", lambda *a, **k: (copied.append(a[0]), empty(*a, **k))[1])
        loss = model(torch.linspace(-1, 1, 12).reshape(3, 4)).square().sum()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None], len(copied)


def test_the_same_gradients_and_weights_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 5))
    kept, none = gradients(model, "cuda")
    moved, some = gradients(model, "cpu")
    assert none == 0
    assert all(torch.equal(a, b) for a, b in zip(kept, moved, strict=True)) and len(kept) == 4
    # Input, GELU's input and output, and the result: not the second layer's weight, which is of 40 numbers.
    assert some == 4


def test_strides_stay() -> None:
    """FlexAttention's compiled backward pass asserts the strides that the forward pass saved."""
    x = torch.arange(32.0).reshape(4, 8).t().requires_grad_()
    with offloaded([], "cpu"):
        y = x.exp()
    saved = y.grad_fn._saved_result  # type: ignore[union-attr]
    assert saved.stride() == y.stride() != (4, 1)
    assert torch.equal(saved, y) and saved.data_ptr() != y.data_ptr()
