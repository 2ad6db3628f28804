"""Keys and values of the sequences that are being decoded: allocated once, written in place, read as views."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Place:
    """Where the next forward pass belongs; one object that all layers of a cache read.

    Attributes:
        slots: [B], the slots of the B sequences that are written.
        prompts: [B], which of the rows that are read becomes which sequence; `None` where single tokens are read.
        positions: [B], where each sequence's single token goes; `None` where prompts are read, which begin at 0.
        length: positions that are written (prompts) or that may be read (single tokens), from 0.
    """

    slots: Tensor
    prompts: Tensor | None = None
    positions: Tensor | None = None
    length: int = 0


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [slots, key–value heads, capacity, head width] each."""

    is_sliding = False  # Every position is kept; the decoder's mask has the window.

    def __init__(self, place: Place, slots: int, capacity: int) -> None:
        super().__init__()
        self.place, self.slots, self.capacity = place, slots, capacity

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate in the precision of attention: where autocast converts, it would convert all of it at every step."""
        kind = key_states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else key_states.dtype
        # Zeros, since memory may hold anything: a masked position has weight 0, and 0 × NaN is NaN.
        self.keys = key_states.new_zeros(self._shape(key_states), dtype=dtype)
        self.values = value_states.new_zeros(self._shape(value_states), dtype=dtype)
        self.is_initialized = True

    def _shape(self, states: Tensor) -> tuple[int, int, int, int]:
        return self.slots, states.shape[1], self.capacity, states.shape[3]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write keys and values [B, heads, T, width] to their place; returns those that the queries may read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        slots, positions, length = self.place.slots, self.place.positions, self.place.length
        if positions is None:
            # Padding is written too: it is masked until a later token takes its place.
            self.keys[slots, :, :length] = key_states[self.place.prompts].to(self.keys.dtype)
            self.values[slots, :, :length] = value_states[self.place.prompts].to(self.values.dtype)
            return key_states, value_states
        self.keys[slots, :, positions] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[slots, :, positions] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[: len(slots), :, :length], self.values[: len(slots), :, :length]

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy `length` positions of the slots `sources` [M] over the slots `targets` [M]."""
        for states in (self.keys, self.values):
            assert states is not None
            states[targets, :, :length] = states[sources, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Positions before the next pass's own."""
        return 0 if self.place.positions is None else self.place.length - 1

    def get_max_length(self) -> int:
        return self.capacity


class SlotCache(Cache):
    """A `transformers` cache whose slots are filled with prompts, grow by a token, and are moved, independently.

    Sequences begin at position 0 of their slot, without padding on the left. Whoever decodes keeps the slots in use a
    prefix, so that attention reads them as a view: nothing is copied from step to step.

    Args:
        slots: sequences at the same time.
        capacity: tokens of the longest.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.place = Place()
        self.layers: list[SlotLayer]  # type: ignore[assignment]
        # They come into being as a model asks for them: their sizes needn't be read from every kind of configuration.
        super().__init__(layer_class_to_replicate=partial(SlotLayer, self.place, slots, capacity))  # type: ignore[arg-type]

    def expect_prompts(self, slots: Tensor, prompts: Tensor, length: int) -> None:
        """The next pass reads prompts, padded on the right to `length`: number `prompts[i]` is for slot `slots[i]`."""
        self.place.slots, self.place.prompts, self.place.positions, self.place.length = slots, prompts, None, length

    def expect_tokens(self, positions: Tensor, length: int) -> None:
        """The next pass reads one token for each of the first B slots, at `positions` [B] < `length`."""
        self.place.slots = torch.arange(len(positions), device=positions.device)
        self.place.prompts, self.place.positions, self.place.length = None, positions, length

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the keys, once there are any."""
        assert self.layers[0].keys is not None
        return self.layers[0].keys.dtype

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy the first `length` positions of some slots over others."""
        for layer in self.layers:
            layer.move(sources, targets, length)
