"""Attention over rows side by side: a token reads its own path and nothing else, whichever backend computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.models.layout.attention import Trees, unread_mask

ROWS = [Row((5, 6), ((7, 8), (9,))), Row((4, 3, 2), ((3, 1),)), Row((1, 2), ((3, 4, 5), (6,), (7, 8, 9, 10)))]

tokens = st.lists(st.integers(1, 50), min_size=1, max_size=5).map(tuple)
rows = st.builds(Row, tokens, st.lists(tokens, min_size=2, max_size=3).map(tuple))


@given(st.lists(rows, min_size=1, max_size=4), st.sampled_from([None, 2, 4]))
def test_reads_exactly_the_own_path(found: list[Row], window: int | None) -> None:
    trees = Trees.of(collate(found))
    index = torch.arange(len(trees.owners))
    reads = trees.reads(index[:, None], index[None, :], window)
    begin = 0
    for row in found:
        at = begin + len(row.prompt)
        paths = [(list(range(begin, at)), 0)]
        for response in row.responses:
            paths.append(([*range(begin, begin + len(row.prompt)), *range(at, at + len(response))], len(row.prompt)))
            at += len(response)
        for path, first in paths:
            for place in range(first, len(path)):
                expected = path[: place + 1] if window is None else path[: place + 1][-window:]
                assert reads[path[place]].nonzero().flatten().tolist() == expected
        begin += row.length


def test_only_rows_that_need_a_mask_have_one() -> None:
    trees = Trees.of(collate(ROWS))
    assert [mask is None for mask in trees.masks(torch.float32, None)] == [False, True, False]
    assert [mask is None for mask in trees.masks(torch.float32, 4)] == [False, False, False]
    assert trees.masks(torch.float32, 4)[1][0, 0, -1].tolist() == [-torch.inf, 0, 0, 0, 0]  # type: ignore[index]


def test_values_and_gradients_equal_rows_alone(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    model = LanguageModel(make_hf("causal", architecture))
    found = []
    for groups in ([ROWS], [[row] for row in ROWS], [[Row(r.prompt, (x,))] for r in ROWS for x in r.responses]):
        model.zero_grad()
        parts: list[Any] = [model(collate(group)).logprobs for group in groups]
        weights = torch.arange(1.0, 1 + sum(map(len, parts)))
        (torch.cat(parts) * weights).sum().backward()
        found.append((torch.cat(parts).detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    for logprobs, gradients in found[1:]:
        torch.testing.assert_close(logprobs, found[0][0], atol=1e-4, rtol=1e-4)
        for one, other in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=1e-4)


@torch.no_grad()
def test_a_backbone_that_takes_another_attention_fails(
    make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]
) -> None:
    hf = make_hf("causal", architectures["llama"])
    batch = collate(ROWS)
    with pytest.raises(RuntimeError):
        hf(input_ids=batch.tokens, attention_mask=unread_mask(), position_ids=batch.positions)
