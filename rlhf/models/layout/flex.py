"""FlexAttention (Dong et al. 2024) over rows side by side: one compiled kernel per size, never its eager form.

Uncompiled, or compiled more often than the compiler's limit, `flex_attention` falls back to the whole matrix of scores
without a word. So lengths are rounded up to few sizes (`padded_length`), each size has a compiled function of its own,
and a function that would have to be compiled again too often raises. `compilations()` tells how many there were.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 128
"""Tokens of a block of the mask, both ways: FlexAttention's own default."""

BACKEND: str | Callable[..., Any] = "inductor"
"""What compiles the graphs, as in `torch.compile`; tests put a stub here."""

SMALLEST_HEAD = 16
"""Triton's matrix product takes no narrower one; narrower heads are filled up with zeros, which changes no score."""

_compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}
_compilations = 0


def compilations() -> int:
    """How many graphs of FlexAttention this process has compiled so far.

    One per padded length, shape of heads, dtype, sliding window and need of gradients: over batches of any lengths up
    to a token budget it stops growing (see `padded_length`), so a benchmark can compare it before and after.
    """
    return _compilations


def padded_length(n: int) -> int:
    """The size that `n` tokens are padded to: multiples of 256, from 2,048 on four sizes per doubling.

    Up to 4,096 tokens (the default `train.tokens_per_microbatch`) these are 12 sizes, up to 16,384 they are 20; and
    micro-batches are filled up to the budget, so a run meets few of them. Padding is 8% of the places on average over
    lengths from 2,048 on, 20% at most, 255 tokens at most below. It passes through attention alone, where each of its
    blocks reads one block, itself: the fewest that any block reads.
    """
    blocks = -(-max(n, 1) // BLOCK)
    step = max(2, 1 << max(0, (blocks - 1).bit_length() - 3))
    return -(-blocks // step) * step * BLOCK


def block_mask(owners: Tensor, segments: Tensor, positions: Tensor, window: int | None) -> Any:
    """`Trees.reads` as a `BlockMask` over `padded_length(N)` tokens, without a tensor of N×N.

    Blocks that are read wholly and blocks that are read in part are found from the first and last token of each: rows
    follow each other, and within a row segments do. Tokens of the padding are rows of their own and read themselves.

    Args:
        owners, segments, positions: [N] as in `Trees`.
        window: a sliding window reads this many tokens, itself included.
    """
    from torch.nn.attention.flex_attention import BlockMask

    n = len(owners)
    size = padded_length(n)
    owner = torch.arange(size, dtype=torch.int32, device=owners.device)
    # A row has at least one token, so no row's number exceeds that of its first token: n + i is nobody else's.
    owner[:n] = owners
    segment, position = (F.pad(x.to(torch.int32), (0, size - n)) for x in (segments, positions))

    def reads(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_path = (segment[key] == 0) | (segment[key] == segment[query])
        return (query >= key) & (owner[query] == owner[key]) & same_path

    def reads_near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert window is not None
        return reads(batch, head, query, key) & (position[query] - position[key] < window)

    # Of each block, its first and last token. As queries [blocks, 1] and as keys [1, blocks].
    (first_owner, last_owner), (first_segment, last_segment) = (
        (x[::BLOCK], x[BLOCK - 1 :: BLOCK]) for x in (owner, segment)
    )
    index = torch.arange(size // BLOCK, device=owners.device)
    before = index[:, None] > index
    # A block of keys shares at most one row with a later block: that of its last and of the other's first token.
    # The row's prompt, which all of it reads, is in the block of keys if the row begins there.
    part = before & (first_owner[:, None] == last_owner)
    begins = first_owner != last_owner
    same = last_segment == first_segment[:, None]
    part &= begins | (first_segment == 0) | same
    whole = part & ~begins & ~begins[:, None] & ((last_segment == 0) | (first_segment == last_segment[:, None]))
    if window is not None:
        near, far = position.view(-1, BLOCK).amin(1), position.view(-1, BLOCK).amax(1)
        part &= near[:, None] - far < window
        whole &= far[:, None] - near < window
    part = (part & ~whole) | (index[:, None] == index)
    partial, full = (_ordered(blocks) for blocks in (part, whole))
    return BlockMask.from_kv_blocks(
        *partial, *full, BLOCK_SIZE=BLOCK, mask_mod=reads if window is None else reads_near, seq_lengths=(size, size)
    )


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """[1, 1, Q] how many blocks each block of queries reads, and [1, 1, Q, K] all blocks, those first."""
    order = blocks.to(torch.int32).argsort(stable=True, dim=-1, descending=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]


@torch.compiler.disable
def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    *,
    window: int | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention [1, N, heads, width] of query [1, heads, N, width], and key and value, which may have fewer heads.

    A compiled backbone (`strategy.compile`) calls it between its graphs: within one whose length is dynamic, it would
    be compiled by that one's rules.

    Args:
        mask: from `block_mask`, and `window` as it was there.
        scaling: of the scores; default 1/√width.
        softcap: scores become softcap · tanh(score / softcap) (Gemma 2).
        sinks: [heads] a score that takes part in the softmax and has no value (gpt-oss).

    Raises:
        RuntimeError: the compiler would have fallen back to the eager form.
    """
    from torch._dynamo.exc import FailOnRecompileLimitHit

    n, width, size = query.shape[2], value.shape[-1], mask.shape[-1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # As SDPA does. Norms of queries and keys leave them in fp32, and FlexAttention takes one dtype.
        query, key, value = (x.to(torch.get_autocast_dtype(device)) for x in (query, key, value))
    query, key, value = (
        # One layout, since a graph is compiled for one.
        F.pad(x, (0, max(0, SMALLEST_HEAD - x.shape[-1]), 0, size - n)).contiguous()
        for x in (query, key, value)
    )
    kind = (
        *(device, query.dtype, query.shape, key.shape, value.shape, window, scaling, softcap, sinks is not None),
        *(torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        *(x.requires_grad for x in (query, key, value)),
    )
    if kind not in _compiled:
        _compiled[kind] = _compile(softcap, with_sinks=sinks is not None)
    try:
        with torch.autocast(device, enabled=False):
            found, total = _compiled[kind](query, key, value, mask, scaling)
    except FailOnRecompileLimitHit as error:
        raise RuntimeError(
            f"FlexAttention over {size} tokens was compiled more often than torch._dynamo.config.recompile_limit allows"
            " and would now compute the whole matrix of scores; TORCH_LOGS=recompiles tells why"
        ) from error
    if sinks is not None:
        # Σ exp(scores) / (Σ exp(scores) + exp(sink)) in fp32, whatever the dtype of the scores.
        share = torch.sigmoid(total.float() - sinks.float()[:, None])
        found = (found * share[..., None]).to(found.dtype)
    return found[:, :, :n, :width].transpose(1, 2).contiguous()


def _compile(softcap: float | None, with_sinks: bool) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """A compiled function of its own: the compiler counts recompilations, up to its limit, by code object."""
    from torch.nn.attention.flex_attention import AuxRequest, flex_attention

    def capped(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert softcap is not None
        return softcap * torch.tanh(score / softcap)

    def attention(query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float) -> tuple[Tensor, Tensor | None]:
        found: Any = flex_attention(
            query,
            key,
            value,
            score_mod=None if softcap is None else capped,
            block_mask=mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
            return_aux=AuxRequest(lse=True) if with_sinks else None,
        )
        return (found[0], found[1].lse) if with_sinks else (found, None)

    def counted(graph: Any, inputs: Any) -> Any:
        global _compilations
        _compilations += 1
        from torch._dynamo.backends.registry import lookup_backend

        return (lookup_backend(BACKEND) if isinstance(BACKEND, str) else BACKEND)(graph, inputs)

    code = attention.__code__.replace(co_name=f"attention_{len(_compiled)}")
    own = FunctionType(code, attention.__globals__, code.co_name, None, attention.__closure__)
    # Whole graphs only: past its limit the compiler then raises, where it would otherwise run the eager form.
    compiled: Callable[..., Any] = torch.compile(own, backend=counted, dynamic=False, fullgraph=True)
    return compiled
