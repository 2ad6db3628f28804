"""Attention over rows that lie side by side in one line, each a tree: no padding, nothing read across rows.

`transformers` hands keyword arguments of a backbone through to the attention function that it has registered, so any
backbone that asks `AttentionInterface` gets this one without a copy of its code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlhf.data.batch import Batch

NAME = "rlhf_trees"
"""What `attn_implementation` is called."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Rows of `lengths` tokens in a line of N tokens.

    Attributes:
        lengths: tokens of each row.
        branching: of each row, whether it has more than one response: plain causal attention is exact otherwise.
        owners: [N] the row of each token.
        segments: [N] 0 = prompt, k >= 1 = k-th response of its row.
        positions: [N] its place on the path from its row's first token.
        windows: sliding windows that layers have asked for so far.
    """

    lengths: tuple[int, ...]
    branching: tuple[bool, ...]
    owners: Tensor
    segments: Tensor
    positions: Tensor
    windows: set[int] = field(default_factory=set)
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, batch: Batch) -> Trees:
        """The rows of a batch whose rows lie side by side."""
        device = batch.tokens.device
        # The size is known, and a GPU need not be asked for it.
        owners = torch.repeat_interleave(torch.tensor(batch.lengths, device=device), output_size=sum(batch.lengths))
        return cls(batch.lengths, batch.branching, owners, batch.segments[0], batch.positions[0])

    def reads(self, query: Tensor, key: Tensor, window: int | None = None) -> Tensor:
        """Whether the token at `query` reads the one at `key`: itself and what stands before it on its own path.

        Args:
            query, key: indices 0..N-1, of any shapes that broadcast.
            window: a sliding window reads this many tokens, itself included.
        """
        same_path = (self.segments[key] == 0) | (self.segments[key] == self.segments[query])
        reads = (query >= key) & (self.owners[query] == self.owners[key]) & same_path
        if window is not None:
            reads = reads & (self.positions[query] - self.positions[key] < window)
        return reads

    def masks(self, dtype: torch.dtype, window: int | None) -> list[Tensor | None]:
        """Of each row, what is added to its scores [1, 1, T, T]: 0 or −∞; `None` where causal attention is exact."""
        if (dtype, window) not in self._made:
            found: list[Tensor | None] = []
            begin = 0
            for length, branching in zip(self.lengths, self.branching, strict=True):
                mask = None
                if branching or (window is not None and length > window):
                    index = torch.arange(begin, begin + length, device=self.owners.device)
                    reads = self.reads(index[:, None], index[None, :], window)
                    mask = torch.zeros(reads.shape, dtype=dtype, device=reads.device).masked_fill_(~reads, -torch.inf)
                    mask = mask[None, None]
                found.append(mask)
                begin += length
            self._made[dtype, window] = found
        masks: list[Tensor | None] = self._made[dtype, window]
        return masks

    def block_mask(self, window: int | None) -> Any:
        """The same for FlexAttention (Dong et al. 2024), which leaves out blocks that nobody reads."""
        from torch.nn.attention.flex_attention import create_block_mask

        if ("block", window) not in self._made:
            n = len(self.owners)

            def reads(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return self.reads(query, key, window)

            self._made["block", window] = create_block_mask(reads, None, None, n, n, device=str(self.owners.device))
        return self._made["block", window]


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention of query, key and value [1, heads, N, width] over `trees`, an option that the backbone hands through.

    On CPU each row is an SDPA call of its own, with a mask only where it branches; on CUDA one FlexAttention with a
    block mask. Without `trees`: `transformers`' own SDPA.

    Returns:
        [1, N, heads, width], and `None` for the weights.
    """
    from transformers.integrations.flex_attention import flex_attention_forward
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    trees: Trees | None = options.pop("trees", None)
    if trees is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    window = options.get("sliding_window")
    if window is not None:
        trees.windows.add(window)
    if query.device.type == "cuda":
        return flex_attention_forward(module, query, key, value, trees.block_mask(window), **options)
    parts = [
        sdpa_attention_forward(module, q, k, v, mask, **options)[0]
        for q, k, v, mask in zip(
            # One split instead of slices: its backward pass concatenates, slices would fill zeros for each other.
            *(states.split(trees.lengths, dim=2) for states in (query, key, value)),
            trees.masks(query.dtype, window),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=1), None


def read_trees(hf: Any) -> Any:
    """Make a model of `transformers` attend through `attend`, in place; its configuration file doesn't say so."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    hf.set_attn_implementation(NAME)
    return hf


def unread_mask() -> Tensor:
    """A mask of four dimensions, so that `transformers` makes none; without entries, so that whoever reads it fails."""
    return torch.empty(1, 1, 0, 0)
