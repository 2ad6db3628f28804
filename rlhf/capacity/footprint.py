"""Memory of one device, by phase of a run, by part and by model; and how large a micro-batch it leaves room for.

What lasts (weights, gradients, moments) follows from the numbers of parameters; what comes and goes in a step from the
log of a traced micro-batch (`rlhf/capacity/trace.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf.capacity.meter import Log
from rlhf.capacity.trace import Sizes
from rlhf.rollout.packed import FEWEST_ROWS, FEWEST_STEPS

HALF, FP32 = 2, 4
"""Bytes of a number: weights, gradients and moments are kept in fp32 in every precision."""
MOMENTS = 2
"""AdamW's two moments (Loshchilov and Hutter 2019)."""
LOGIT_COPIES = 3
"""In decoding: logits, probabilities, and those once more in blocks (`rlhf/rollout/sampling.py`)."""

QUANTISED = {"none": 4.0, "8bit": 1.0, "4bit": 0.516}
"""Bytes of a quantised weight: 4 bits, and for each block of 64 the 8 bits of a scale (Dettmers et al. 2023)."""

WEIGHTS, GRADIENTS, OPTIMISER, KEPT = "weights", "gradients", "optimiser", "kept copies"
GATHERED, BUCKETS = "gathered weights", "buckets"
ACTIVATIONS, LOGITS, CACHE, PACKED = "activations", "logits", "key–value cache", "packed weights"
PARTS = (WEIGHTS, GRADIENTS, OPTIMISER, KEPT, GATHERED, BUCKETS, ACTIVATIONS, LOGITS, CACHE, PACKED)
"""In the order in which they are shown."""
BACKWARD = "backward"
"""Whose memory is what the backward pass makes: autograd doesn't say for which model."""


@dataclass(frozen=True)
class Layout:
    """How states are spread over devices.

    Attributes:
        name: `single`, `ddp`, `fsdp` or `zero2`.
        shards: devices that share one copy; 1 for `single` and `ddp`.
        gathered_bytes: of a gathered weight: 2 where shards are gathered in bf16.
        offload: shards, their gradients and moments lie in the memory of the host.
    """

    name: str = "single"
    shards: int = 1
    gathered_bytes: int = FP32
    offload: bool = False

    @property
    def sharded(self) -> bool:
        return self.name in ("fsdp", "zero2")


@dataclass
class Memory:
    """Bytes on one device in one phase, by (part, model)."""

    phase: str
    parts: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, part: str, model: str, size: float) -> None:
        if size:
            self.parts[part, model] = self.parts.get((part, model), 0.0) + size

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def of(self, part: str, model: str | None = None) -> float:
        """Bytes of a part, of all models or of one."""
        return sum(size for (p, m), size in self.parts.items() if p == part and model in (None, m))


@dataclass(frozen=True)
class Stage:
    """What all phases share.

    Attributes:
        trained, frozen: sizes of the models by name.
        shared: models whose frozen weights are another's (adapters on one backbone).
        vocabulary: entries of the output layer.
        quantised: models whose linear layers take `quantised_bytes` a number.
        half: models whose weights are kept in bf16.
        averaged: models of which an average is kept beside the weights that learn.
        kept: models of which the weights of before are kept on the device.
    """

    trained: Mapping[str, Sizes]
    frozen: Mapping[str, Sizes]
    layout: Layout
    vocabulary: int
    shared: frozenset[str] = frozenset()
    quantised: frozenset[str] = frozenset()
    quantised_bytes: float = FP32
    half: frozenset[str] = frozenset()
    averaged: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()

    def lasting(self, phase: str, *, gradients: bool) -> Memory:
        """Weights and moments, and whole gradients where an earlier update has left them."""
        memory, shards = Memory(phase), 0 if self.layout.offload else 1 / self.layout.shards
        for name, sizes in {**self.trained, **self.frozen}.items():
            numbers = sizes.trainable if name in self.shared else sizes.total
            spared = sizes.linear * (FP32 - self.quantised_bytes) if name in self.quantised - self.shared else 0.0
            memory.add(WEIGHTS, name, ((HALF if name in self.half else FP32) * numbers - spared) * shards)
            if name in self.kept:
                memory.add(KEPT, name, (HALF if name in self.half else FP32) * numbers * shards)
        for name, sizes in self.trained.items():
            if name in self.averaged:
                memory.add(KEPT, name, FP32 * sizes.trainable * shards)
            memory.add(OPTIMISER, name, MOMENTS * FP32 * sizes.trainable * shards)
            if gradients:
                memory.add(GRADIENTS, name, FP32 * sizes.trainable * shards)
            if self.layout.name == "ddp":
                memory.add(BUCKETS, name, FP32 * sizes.trainable)
        return memory

    def host(self) -> float:
        """Bytes that `offload` moves to the host, for each device."""
        if not self.layout.offload:
            return 0.0
        weights = sum(sizes.total for sizes in {**self.trained, **self.frozen}.values())
        learned = sum(sizes.trainable for sizes in self.trained.values())
        averaged = sum(sizes.trainable for name, sizes in self.trained.items() if name in self.averaged)
        return FP32 * (weights + (1 + MOMENTS) * learned + averaged) / self.layout.shards

    def update(self, log: Log, *, accumulating: bool, phase: str = "update") -> Memory:
        """The peak of forward and backward pass of a micro-batch.

        Args:
            accumulating: whether the micro-batch is not the first of its update.
        """
        layout = self.layout
        memory = self.lasting(phase, gradients=accumulating)
        shards = layout.shards if layout.sharded else None
        widened = FP32 / layout.gathered_bytes
        # What is moved to the host leaves no gradients here, as if it were added to such as were there.
        for storage in log.peak(accumulating=accumulating or layout.offload, shards=shards, widened=widened):
            part = GRADIENTS if storage.group else LOGITS if storage.width == self.vocabulary else ACTIVATIONS
            memory.add(part, storage.scope or BACKWARD, storage.nbytes)
        if layout.sharded:
            for name, sizes in self.trained.items():
                self._gather(memory, name, sizes, everything=layout.name == "zero2")
        return memory

    def sampling(self, policy: str, rows: int, length: int, steps: int, *, cache_bytes: int, pack: bool) -> Memory:
        """Decoding `rows` responses at a time, while the last update's gradients are still there.

        Args:
            length: tokens of the longest prompt and its response; steps: products that each weight is asked for.
            cache_bytes: of a number of the cache, and of a copied weight.
            pack: whether weights are copied into another layout (on CPU).
        """
        sizes = self.trained[policy]
        memory = self.lasting("sampling", gradients=True)
        memory.add(CACHE, policy, cache_bytes * sizes.cache * rows * length)
        memory.add(LOGITS, policy, LOGIT_COPIES * FP32 * rows * self.vocabulary)
        if self.layout.sharded:
            self._gather(memory, policy, sizes, everything=True)
        elif pack and rows >= FEWEST_ROWS and steps >= FEWEST_STEPS:
            memory.add(PACKED, policy, cache_bytes * sizes.packed)
        return memory

    def _gather(self, memory: Memory, name: str, sizes: Sizes, *, everything: bool) -> None:
        """The root and two blocks, the second of them fetched ahead; or everything."""
        numbers = sizes.total if everything else min(sizes.total, sizes.root + 2 * sizes.block)
        memory.add(GATHERED, name, self.layout.gathered_bytes * numbers)


@dataclass(frozen=True)
class Line:
    """Memory as a function of a micro-batch's tokens: `fixed + slope · tokens` bytes."""

    fixed: float
    slope: float

    @classmethod
    def through(cls, small: tuple[int, float], large: tuple[int, float]) -> Line:
        """The line through two (tokens, bytes)."""
        (x, low), (y, high) = small, large
        slope = max(0.0, (high - low) / (y - x)) if y > x else 0.0
        return cls(low - slope * x, slope)

    def bytes(self, tokens: float) -> float:
        """Memory with `tokens` tokens."""
        return self.fixed + self.slope * tokens

    def tokens(self, memory: float) -> float:
        """The number of tokens that fit into `memory` bytes: infinite where they cost nothing, below 0 where nothing
        fits."""
        if self.slope == 0:
            return float("inf") if memory >= self.fixed else -1.0
        return (memory - self.fixed) / self.slope
