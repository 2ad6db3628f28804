"""Attention over rows that lie side by side in one line, each a tree: no padding, nothing read across rows.

`transformers` hands keyword arguments of a backbone through to the attention function that it has registered, so any
backbone that asks `AttentionInterface` gets this one without a copy of its code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf.models.layout.flex import block_mask, flex

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
        """The mask that is added to each row's scores, [1, 1, T, T]: 0 or −∞; `None` where causal attention is
        exact."""
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
        """The same for `flex`, over a padded length."""
        if ("block", window) not in self._made:
            self._made["block", window] = block_mask(self.owners, self.segments, self.positions, window)
        return self._made["block", window]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    trees: Trees | None = None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of query, key and value [B, heads, N, width]; over `trees`, which a backbone hands through, B = 1.

    On CPU each row is a call of SDPA, with a mask only where it branches; on CUDA one FlexAttention with a block mask.
    Without `trees`: `transformers`' own SDPA.

    Args:
        scaling, softcap, s_aux: as `transformers` calls what `flex` explains (its sinks). SDPA knows neither of the
            last two, and older versions of `transformers` drop them in silence.

    Returns:
        [B, N, heads, width], and `None` for the weights.

    Raises:
        ValueError: options that rows side by side don't allow for.
    """
    if trees is None:
        return _attend_rows(module, query, key, value, attention_mask, scaling, softcap, s_aux, options), None
    if options.get("position_bias") is not None:
        raise ValueError("rows side by side have no position bias: it belongs to places in one row")
    window = options.get("sliding_window")
    if window is not None:
        trees.windows.add(window)
    if by_flex(query):
        if options.get("dropout", 0.0) > 0:
            raise ValueError("attention over rows side by side has no dropout on CUDA: set the model's to 0")
        mask = trees.block_mask(window)
        return flex(query, key, value, mask, window=window, scaling=scaling, softcap=softcap, sinks=s_aux), None
    parts = [
        _attend_rows(module, q, k, v, mask, scaling, softcap, s_aux, options)
        for q, k, v, mask in zip(
            # One split instead of slices: its backward pass concatenates, slices would fill zeros for each other.
            *(states.split(trees.lengths, dim=2) for states in (query, key, value)),
            trees.masks(query.dtype, window),
            strict=True,
        )
    ]
    return torch.cat(parts, dim=1), None


def by_flex(query: Tensor) -> bool:
    """Whether FlexAttention computes it: it has a backward pass for CUDA alone."""
    return query.device.type == "cuda"


def _attend_rows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    options: dict[str, Any],
) -> Tensor:
    """[B, N, heads, width] by SDPA; spelt out where scores are capped or share the softmax with a sink."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if softcap is None and sinks is None:
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **options)[0]
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    scores = (query @ key.mT).float() * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if options.get("position_bias") is not None:
        scores = scores + options["position_bias"]
    if mask is None and query.shape[2] > 1:
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~causal, -torch.inf)
    elif mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        sinks = sinks.float()[None, :, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(-1)[..., : key.shape[2]].to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous()


def read_trees(hf: Any) -> Any:
    """Make a model of `transformers` attend through `attend`, in place; its configuration file doesn't say so."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    hf.set_attn_implementation(NAME)
    return hf


def unread_mask() -> Tensor:
    """A mask of four dimensions, so that `transformers` makes none; without entries, so that reading it fails."""
    return torch.empty(1, 1, 0, 0)
