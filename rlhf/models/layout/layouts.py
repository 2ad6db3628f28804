"""How a model's backbone is given rows: `rlhf/models/layout/probe.py` finds out which way is exact."""

from __future__ import annotations

from typing import Any, Literal

from rlhf.data.batch import Batch
from rlhf.data.unfolding import unfolded

Layout = Literal["tree", "padded"]
"""`tree`: rows side by side, each with several responses; `padded`: one response a line, padding on the right."""


def layout_of(hf: Any) -> Layout:
    """What was found for a model of `transformers`; copies of it have the same."""
    layout: Layout = getattr(hf, "_rlhf_layout", "tree")
    return layout


def lay_out(hf: Any, layout: Layout) -> None:
    """Give a model its rows in this layout from now on."""
    hf._rlhf_layout = layout


def arranged(hf: Any, batch: Batch) -> Batch:
    """A batch in the layout of a model; order and number of targets and responses stay."""
    return batch if layout_of(hf) == "tree" else unfolded(batch)
