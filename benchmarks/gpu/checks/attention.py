"""FlexAttention over batches of different lengths: how often it compiles, its memory, and that it is right."""

from __future__ import annotations

import importlib
import random
import time
from typing import Any

import torch

from benchmarks.gpu.parts import Context, Skipped
from benchmarks.gpu.trial import forget_memory, verdict
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row

HEADS, WIDTH = 12, 64
"""Of GPT-2 124M."""
LENGTHS = (1024, 2048)
"""Tokens of a batch, at least and at most: eight sizes of 128 blocks between them at most."""
MOST = 8
"""Compilations that these lengths may need, forward and backward together."""
LONG = 16384
"""Tokens of the batch whose memory is measured: a whole matrix of scores would take 6.4 GB in bf16."""


def compare(context: Context) -> dict[str, Any]:
    """Fifty batches, forward and backward; a CPU has no backward pass, and nothing is compiled there."""
    try:
        module: Any = importlib.import_module("rlhf.models.layout.flex")
    except ModuleNotFoundError as error:
        raise Skipped("this version has no FlexAttention of its own") from error
    if context.device == "cpu":
        module.BACKEND = "eager"
    try:
        return measured(context, module)
    finally:
        if context.device == "cpu":
            module.BACKEND = "inductor"


def measured(context: Context, module: Any) -> dict[str, Any]:
    shortest, longest = (32, 300) if context.tiny else LENGTHS
    draw = random.Random(0)
    dtype = torch.float32 if context.device == "cpu" else torch.bfloat16
    before, began = module.compilations(), time.perf_counter()
    lengths: list[int] = []
    for _ in range(4 if context.tiny else 50):
        if context.left < 15:
            break
        batch = batch_of(draw.randint(shortest, longest), draw).to(context.device)
        attend(module, batch, dtype, backward=context.device != "cpu")
        lengths.append(batch.tokens.numel())
        context.note("batches", {"lengths": lengths, "compilations": module.compilations() - before})
    seconds = time.perf_counter() - began
    compiled = module.compilations() - before
    error = distance(module, batch_of(200, draw).to(context.device), torch.float32)
    wrong = [f"{compiled} compilations of {len(lengths)} batches"] if compiled > MOST else []
    wrong += [f"outputs are {error:.2g} from plain attention"] if not error <= 1e-4 else []
    found = {"lengths": lengths, "compilations": compiled, "seconds": seconds, "distance": error}
    told = f"{compiled} compilations in {len(lengths)} batches, {seconds:.0f} s"
    if context.device == "cuda" and context.left > 15:
        batch = batch_of(LONG, draw).to(context.device)
        forget_memory()
        start = torch.cuda.memory_allocated()
        attend(module, batch, dtype, backward=True)
        peak = torch.cuda.max_memory_allocated() - start
        scores = HEADS * batch.tokens.numel() ** 2 * 2
        found |= {"peak_bytes": peak, "scores_bytes": scores}
        told += f"; {batch.tokens.numel()} tokens take {peak / 1e9:.2f} GB, their scores would take {scores / 1e9:.2f}"
        wrong += ["it took as much memory as the whole matrix of scores"] if peak > scores / 4 else []
    return {"says": f"{verdict(wrong)}; {told}", "wrong": wrong} | found


def batch_of(tokens: int, draw: random.Random) -> Batch:
    """Trees side by side, of so many tokens or a few more."""
    rows: list[Row] = []
    left = tokens
    while left > 0:
        longest = max(1, min(left // 3, 250))
        lengths = [draw.randint(1, longest) for _ in range(3)]  # a prompt and two responses
        left -= sum(lengths)
        prompt, *responses = (tuple(draw.randrange(1, 50) for _ in range(n)) for n in lengths)
        rows.append(Row(prompt, tuple(responses), index=len(rows)))
    return collate(rows)


def states(batch: Batch, dtype: torch.dtype, grad: bool) -> list[torch.Tensor]:
    """Random queries, keys and values [1, heads, N, width]."""
    generator = torch.Generator(device=batch.tokens.device).manual_seed(1)
    shape = (1, HEADS, batch.tokens.shape[1], WIDTH)
    return [
        torch.randn(shape, generator=generator, device=batch.tokens.device, dtype=dtype).requires_grad_(grad)
        for _ in range(3)
    ]


def attend(module: Any, batch: Batch, dtype: torch.dtype, backward: bool) -> torch.Tensor:
    """One attention of a layer, [1, N, heads, width]."""
    from rlhf.models.layout.attention import Trees

    query, key, value = states(batch, dtype, backward)
    with torch.set_grad_enabled(backward):
        out: torch.Tensor = module.flex(query, key, value, Trees.of(batch).block_mask(None))
    if backward:
        out.float().square().sum().backward()
    return out


def distance(module: Any, batch: Batch, dtype: torch.dtype) -> float:
    """Largest difference to attention with the whole mask."""
    from rlhf.models.layout.attention import Trees

    out = attend(module, batch, dtype, backward=False)
    query, key, value = states(batch, dtype, grad=False)
    index = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    mask = Trees.of(batch).reads(index[:, None], index[None, :])
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return float((out - plain.transpose(1, 2)).abs().max())
