"""FlexAttention over rows side by side: the same as SDPA, few sizes, one compilation each, and never the eager form.

No compiler here makes a backward pass for CPUs, so most tests compile with a stub, which counts all the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.models.layout import flex as module
from rlhf.models.layout.attention import Trees, attend
from rlhf.models.layout.flex import BLOCK, block_mask, compilations, flex, padded_length
from rlhf.models.parallel.offload import offloaded, recompute_activations


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled functions of this test alone, run as they were traced: with gradients too, which PyTorch refuses on CPU
    because the kernel is missing, though the traced form has them."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *states: None)
    monkeypatch.setattr(module, "BACKEND", "eager")
    monkeypatch.setattr(module, "_compiled", {})
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trees_of(lengths: list[tuple[int, ...]]) -> Trees:
    """Rows by the lengths of their prompt and responses, side by side whatever their lengths."""
    rows = [collate([Row((1,) * n[0], tuple((1,) * r for r in n[1:]))]) for n in lengths]
    return Trees(
        tuple(map(sum, lengths)),
        tuple(len(n) > 2 for n in lengths),
        torch.arange(len(rows)).repeat_interleave(torch.tensor([sum(n) for n in lengths])),
        torch.cat([row.segments[0] for row in rows]),
        torch.cat([row.positions[0] for row in rows]),
    )


def states(trees: Trees, heads: int = 2, kv_heads: int = 2, width: int = 16, **options: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(1, n, len(trees.owners), width, generator=generator).to(**options).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    ]


LENGTHS = [(90, 60, 80), (140,), (5, 1, 2, 3), (70, 130, 10)]


def test_sizes_are_few_and_near() -> None:
    sizes = [padded_length(n) for n in range(1, 16385)]
    assert all(size >= n and size % BLOCK == 0 for n, size in enumerate(sizes, 1))
    assert len({s for s in sizes if s <= 4096}) == 12
    assert len(set(sizes)) == 20
    assert all(size - n < max(256, 0.2 * size) for n, size in enumerate(sizes, 1))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6),
    st.sampled_from([None, 1, 40, 128, 129, 300]),
)
def test_the_mask_is_what_trees_read(lengths: list[tuple[int, ...]], window: int | None) -> None:
    trees = trees_of(lengths)
    n = len(trees.owners)
    mask = trees.block_mask(window)
    size = padded_length(n)
    assert mask.shape[-2:] == (size, size)
    index = torch.arange(size)
    inside = mask.mask_mod(torch.tensor(0), torch.tensor(0), index[:, None], index[None, :])

    def dense(counts: Tensor, which: Tensor) -> Tensor:
        blocks = torch.zeros(size // BLOCK, size // BLOCK, dtype=torch.bool)
        for query, count in enumerate(counts[0, 0].tolist()):
            blocks[query, which[0, 0, query, :count].long()] = True
        return blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)

    partly = dense(mask.kv_num_blocks, mask.kv_indices)
    wholly = dense(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not (partly & wholly).any()
    expected = torch.eye(size, dtype=torch.bool)  # padding reads itself
    expected[:n, :n] = trees.reads(index[:n, None], index[None, :n], window)
    assert torch.equal(wholly | (partly & inside), expected)
    # What is not read at all is not computed, but for what a window's bounds don't tell.
    read = expected.view(size // BLOCK, BLOCK, -1, BLOCK).any(3).any(1)
    computed = (partly | wholly)[::BLOCK, ::BLOCK]
    assert torch.equal(computed, read) if window is None else (computed >= read).all()


def test_the_mask_knows_whole_blocks() -> None:
    """A long row's early blocks are read without asking the mask, or FlexAttention has no advantage."""
    mask = trees_of([(1000, 24)]).block_mask(None)
    assert mask.full_kv_num_blocks[0, 0].tolist() == list(range(8))
    assert mask.kv_num_blocks[0, 0].tolist() == [1] * 8


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "options"),
    [
        (2, 2, 16, {}),
        (6, 2, 24, {"scaling": 0.1}),  # shared keys and values, a width that is no power of 2
        (3, 1, 8, {"softcap": 2.0}),  # narrower than kernels take
        (4, 2, 16, {"s_aux": torch.tensor([0.5, -1.0, 2.0, 0.0])}),
    ],
)
def test_values_and_gradients_equal_sdpa(
    stub: None, window: int | None, heads: int, kv_heads: int, width: int, options: dict[str, Any]
) -> None:
    trees = trees_of(LENGTHS)
    attention = torch.nn.Module()
    attention.num_key_value_groups = heads // kv_heads  # type: ignore[assignment]
    found = []
    for by_flex in (True, False):
        q, k, v = states(trees, heads, kv_heads, width)
        if by_flex:
            named = {{"s_aux": "sinks"}.get(name, name): value for name, value in options.items()}
            out = flex(q, k, v, trees.block_mask(window), window=window, **named)
        else:
            out = attend(attention, q, k, v, None, trees=trees, sliding_window=window, **options)[0]
        assert out.shape == (1, len(trees.owners), heads, width)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        found.append([out.detach(), q.grad, k.grad, v.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_spelt_out_attention_equals_sdpa_where_both_can() -> None:
    """A cap far above all scores, and a sink far below them, change nothing."""
    trees = trees_of(LENGTHS)
    q, k, v = states(trees, 4, 2)
    attention = torch.nn.Module()
    attention.num_key_value_groups = 2  # type: ignore[assignment]
    expected = attend(attention, q, k, v, None, trees=trees)[0]
    for options in ({"softcap": 1e4}, {"s_aux": torch.full((4,), -60.0)}):
        torch.testing.assert_close(
            attend(attention, q, k, v, None, trees=trees, **options)[0], expected, atol=1e-5, rtol=1e-5
        )


def test_mixed_dtypes_under_autocast(stub: None) -> None:
    """Norms of queries and keys (Qwen 3) leave them in fp32 beside bf16 values; SDPA takes that, and so do we."""
    trees = trees_of(LENGTHS)
    q, k, v = states(trees)
    v = v.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = flex(q, k, v, trees.block_mask(None))
        expected = attend(torch.nn.Module(), q, k, v, None, trees=trees)[0]
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, atol=0.02, rtol=0.02)


def unread(graph: Any, inputs: Any) -> Callable[..., Any]:
    """A compiler whose programs return zeros: the dense form of 50 batches takes a minute."""
    (outputs,) = graph.graph.output_node().args
    return lambda *states: tuple(torch.zeros(x.meta["example_value"].shape) for x in outputs)


def test_one_compilation_per_size(stub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 batches of different lengths, with and without gradients: as many compilations as sizes, twice."""
    monkeypatch.setattr(module, "BACKEND", unread)
    draw = random.Random(0)
    lengths = [[(draw.randint(1, 60), draw.randint(1, 60)) for _ in range(draw.randint(1, 12))] for _ in range(50)]
    batches = [trees_of(rows) for rows in lengths]
    assert len({len(trees.owners) for trees in batches}) > 40
    before = compilations()
    for trees in batches:
        q, k, v = states(trees)
        for _ in range(2):  # layers
            flex(q, k, v, trees.block_mask(None))
        with torch.no_grad():
            flex(q, k, v, trees.block_mask(None))
    sizes = {padded_length(len(trees.owners)) for trees in batches}
    assert compilations() - before == 2 * len(sizes) <= 12


def test_too_many_compilations_raise(stub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would run eagerly, with the whole matrix of scores, is an error."""
    trees = trees_of(LENGTHS)
    with torch._dynamo.config.patch(recompile_limit=1), torch.no_grad():
        flex(*states(trees), trees.block_mask(None))
        with pytest.raises(RuntimeError, match="FlexAttention"):
            # The same key, another mask: a graph anew.
            flex(*states(trees), trees.block_mask(7))


def test_between_the_graphs_of_a_compiled_backbone(stub: None) -> None:
    """`strategy.compile` traces lengths as unknowns; FlexAttention stays out of that, and compiles as ever."""
    trees = trees_of(LENGTHS)
    q, k, v = (x.detach() for x in states(trees))

    def layer(x: Tensor) -> Tensor:
        return flex(x * 2, k, v, trees.block_mask(None)) + 1

    before = compilations()
    expected = layer(q)
    compiled = torch.compile(layer, dynamic=True, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(q), expected)
    assert compilations() == before + 1


def test_no_tensor_of_the_square_is_made() -> None:
    trees = trees_of([(500, 500, 500)] * 8)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                self.seen = max(self.seen, x.numel() if isinstance(x, Tensor) else 0)
            return out

    with Largest() as largest:
        block_mask(trees.owners, trees.segments, trees.positions, 64)
    assert largest.seen <= padded_length(12000)


def test_a_model_over_flex_agrees(
    stub: None, monkeypatch: pytest.MonkeyPatch, make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]
) -> None:
    """As on CUDA, through a whole backbone, with checkpointing and offloading."""
    from rlhf.models.layout import attention

    model = LanguageModel(make_hf("causal", architectures["qwen2"]))
    batch = collate([Row((5, 6), ((7, 8), (9,))), Row((4, 3, 2), ((3, 1),)), Row((1, 2), ((3, 4, 5), (6,)))])

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(batch).logprobs.sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected = gradients()
    monkeypatch.setattr(attention, "by_flex", lambda query: True)
    before = compilations()
    found = [gradients()]
    kinds = compilations() - before
    assert kinds >= 1
    with offloaded(model.parameters()):
        found.append(gradients())
    recompute_activations(model.hf)
    model.hf.train()
    found.append(gradients())
    assert compilations() - before == kinds
    for other in found:
        for one, two in zip(other, expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4 * float(two.abs().max()), rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_a_real_compiler_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor's kernel for CPUs, without gradients."""
    monkeypatch.setattr(module, "_compiled", {})
    trees = trees_of(LENGTHS)
    attention = torch.nn.Module()
    attention.num_key_value_groups = 2  # type: ignore[assignment]
    q, k, v = states(trees, 4, 2)
    found = flex(q, k, v, trees.block_mask(50), window=50)
    expected = attend(attention, q, k, v, None, trees=trees, sliding_window=50)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
