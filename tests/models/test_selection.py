"""Gradients of states that several responses share: the same bits with two threads on a busy machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.selection import select_at


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_gradients_are_added_in_order(two_threads: None) -> None:
    """Eight responses share each prompt's last token; 2,000 targets of width 64 are enough to run in parallel."""
    generator = torch.Generator().manual_seed(0)
    lines = torch.zeros(2000, dtype=torch.long)
    places = torch.arange(250).repeat_interleave(8)
    states = torch.randn(1, 300, 64, generator=generator).requires_grad_()
    weights = torch.randn(2000, 64, generator=generator)
    assert torch.equal(select_at(states, lines, places), states[lines, places])
    expected = torch.zeros(300, 64)
    for place, weight in zip(places.tolist(), weights, strict=True):
        expected[place] += weight
    for _ in range(5):
        states.grad = None
        select_at(states, lines, places).backward(weights)
        assert states.grad is not None
        assert torch.equal(states.grad[0], expected)


def test_models_take_states_by_it(make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]) -> None:
    """No backward pass of a model adds through plain indexing, whose order depends on the machine's load."""
    batch = collate([Row((1, 2, 3), ((4, 5), (6,), (7, 8), (9, 2)))])
    policy = LanguageModel(make_hf("causal", architectures["llama"]), value_head=True)
    scorer = ScoreModel(make_hf("score", architectures["llama"]))

    def names(tensor: torch.Tensor) -> set[str]:
        found: dict[Any, str] = {}
        left = [tensor.grad_fn]
        while left:
            node = left.pop()
            if node is not None and node not in found:
                found[node] = node.name()
                left += [other for other, _ in node.next_functions]
        return set(found.values())

    stats: Any = policy(batch)
    for out in (stats.logprobs + stats.values, scorer(batch), scorer(batch, at="sources")):
        assert "IndexSelectBackward0" in names(out)
        assert "IndexBackward0" not in names(out)
