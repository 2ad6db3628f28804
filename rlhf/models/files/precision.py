"""The precision of weights in files: that of what a model was read from, and that of its export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from rlhf.errors import TrainingError
from rlhf.models.parallel.sharding import settle

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
IN_FILES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def stored_dtype(files: Iterable[Path]) -> torch.dtype:
    """That of most numbers in safetensors, by their headers; fp32 where they hold neither fp32, bf16 nor fp16."""
    count: Counter[str] = Counter()
    for file in files:
        with safe_open(file, "pt") as content:
            for name in content.keys():  # noqa: SIM118 (no dictionary)
                part = content.get_slice(name)
                count[part.get_dtype()] += prod(part.get_shape())
    found = [(n, kind) for kind, n in count.items() if kind in IN_FILES]
    return DTYPES[IN_FILES[max(found)[1]]] if found else torch.float32


def remember(hf: Any, dtype: torch.dtype) -> Any:
    """Note on a model what its weights were before they were widened to fp32; copies of it know it too."""
    hf._rlhf_stored = dtype
    return hf


def export_dtype(hf: Any, asked: str = "auto") -> torch.dtype:
    """The precision in which an export is written.

    Args:
        asked: `export.dtype`; `auto` is what the model was read from, for new weights what they are in.
    """
    if asked != "auto":
        return DTYPES[asked]
    stored: torch.dtype | None = getattr(hf, "_rlhf_stored", None)
    return stored or next(p.dtype for p in hf.parameters() if p.is_floating_point())


def is_in(hf: Any, dtype: torch.dtype) -> bool:
    """Whether all floating weights of a model are in this precision already."""
    return all(p.dtype == dtype for p in hf.parameters() if p.is_floating_point())


def in_dtype(
    hf: Any, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights by name, the floating ones in `dtype`, on the CPU; those that share memory still do.

    Args:
        own: the weights that stay alive meanwhile, among which shared ones are looked for.

    Raises:
        TrainingError: a weight is too large for fp16.
    """
    alive = {weight.data_ptr() for weight in own.values()}
    cast: dict[tuple[int, torch.Size], Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, weight in weights:
        place = (weight.data_ptr(), weight.shape)
        if place in cast:
            found[name] = cast[place]
            continue
        wide = not weight.is_floating_point() or _stays_wide(hf, name, dtype)
        found[name] = weight if wide else weight.to(device="cpu", dtype=dtype)
        if dtype == torch.float16 and not wide and not found[name].isfinite().all() and weight.isfinite().all():
            largest = float(weight.abs().max())
            raise TrainingError(f"export.dtype=float16: {name} holds {largest:.3g}, more than it can; pass bfloat16")
        if place[0] in alive:  # other addresses may be used again
            cast[place] = found[name]
    return found


@torch.no_grad()
def round_weights(model: Any, dtype: torch.dtype) -> None:
    """Make the weights of `model.hf` those that its export will hold, in place; shards round their own part."""
    settle([model])
    for name, weight in model.hf.state_dict().items():
        if weight.is_floating_point() and not _stays_wide(model.hf, name, dtype):
            weight.copy_(weight.to(dtype))


def _stays_wide(hf: Any, name: str, dtype: torch.dtype) -> bool:
    """Whether `transformers` loads a weight in fp32 though the model is in `dtype`, such as a router's correction."""
    kept: Sequence[str] = [*(getattr(hf, "_keep_in_fp32_modules_strict", None) or ())]
    if dtype == torch.float16:
        kept = [*kept, *(getattr(hf, "_keep_in_fp32_modules", None) or ())]
    return any(f".{part}." in f".{name}." for part in kept)
