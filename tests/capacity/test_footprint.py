"""What lasts, by hand: weights, gradients and moments in every layout; caches; the largest micro-batch."""

from __future__ import annotations

import pytest

from rlhf.capacity.flops import Shape
from rlhf.capacity.footprint import (
    ACTIVATIONS,
    BUCKETS,
    CACHE,
    GATHERED,
    GRADIENTS,
    KEPT,
    LOGITS,
    OPTIMISER,
    PACKED,
    QUANTISED,
    WEIGHTS,
    Layout,
    Line,
    Memory,
    Stage,
)
from rlhf.capacity.meter import ROOT, Log, Storage
from rlhf.capacity.trace import Sizes

SIZES = Sizes(
    total=1000,
    trainable=1000,
    root=200,
    block=100,
    linear=600,
    packed=500,
    cache=20,
    shape=Shape(600, 8, 10, 50),
)
FROZEN = Sizes(1000, 0, 200, 100, 600, 500, 20, SIZES.shape)


def stage(layout: Layout, **options: object) -> Stage:
    return Stage({"policy": SIZES}, {"reference": FROZEN}, layout, 50, **options)  # type: ignore[arg-type]


def by_part(memory: Memory) -> dict[str, float]:
    return {part: memory.of(part) for part, _ in memory.parts}


def test_one_device_holds_all() -> None:
    memory = stage(Layout()).lasting("sampling", gradients=True)
    assert by_part(memory) == {WEIGHTS: 8000, GRADIENTS: 4000, OPTIMISER: 8000}
    assert memory.of(WEIGHTS, "reference") == 4000
    assert memory.total == 20_000


def test_an_average_and_the_first_weights_of_a_reference_are_copies_more() -> None:
    more = {"averaged": frozenset({"policy"}), "kept": frozenset({"reference"})}
    memory = stage(Layout(), **more).lasting("update", gradients=False)
    assert (memory.of(KEPT, "policy"), memory.of(KEPT, "reference")) == (4000, 4000)
    halves = stage(Layout("fsdp", 2), half=frozenset({"reference"}), **more).lasting("update", gradients=False)
    assert (halves.of(KEPT, "policy"), halves.of(KEPT, "reference")) == (2000, 1000)
    away = Layout("fsdp", 2, offload=True)
    assert stage(away, **more).host() - stage(away).host() == 2000
    assert stage(away, **more).lasting("update", gradients=False).of(KEPT) == 0


def test_copies_have_buckets_of_gradients() -> None:
    """Lightning leaves DDP's `gradient_as_bucket_view` off."""
    assert by_part(stage(Layout("ddp")).lasting("update", gradients=False)) == {
        WEIGHTS: 8000,
        OPTIMISER: 8000,
        BUCKETS: 4000,
    }


def test_shards_divide_what_lasts_and_gather_the_root_and_two_blocks() -> None:
    found = stage(Layout("fsdp", shards=4))
    memory = found.update(Log(), accumulating=True)
    assert by_part(memory) == {WEIGHTS: 2000, GRADIENTS: 1000, OPTIMISER: 2000, GATHERED: 1600}
    # A gradient of the root, and its copy in which it is added up.
    log = Log([(Storage(40, "policy", 10, ROOT), True)])
    assert found.update(log, accumulating=False).of(GRADIENTS, "policy") == 40 + 40


def test_zero2_gathers_everything_in_the_precision_of_its_arithmetic() -> None:
    memory = stage(Layout("zero2", shards=4, gathered_bytes=2)).update(Log(), accumulating=False)
    assert memory.of(GATHERED) == 2000


def test_offloaded_shards_are_on_the_host() -> None:
    found = stage(Layout("fsdp", shards=4, offload=True))
    assert found.lasting("update", gradients=True).total == 0
    assert found.host() == (8000 + 4000 + 8000) / 4
    assert stage(Layout("fsdp", shards=4)).host() == 0


def test_adapters_share_a_backbone_and_quantised_weights_are_small() -> None:
    memory = stage(Layout(), shared=frozenset({"reference"})).lasting("update", gradients=False)
    assert memory.of(WEIGHTS, "reference") == 0
    small = stage(Layout(), quantised=frozenset({"policy"}), quantised_bytes=QUANTISED["8bit"])
    assert small.lasting("update", gradients=False).of(WEIGHTS, "policy") == 4 * 400 + 600


def test_an_update_is_what_lasts_and_the_peak_of_its_log() -> None:
    logits, states, gradient = Storage(30, "", 50), Storage(20, "policy", 10), Storage(40, "policy", 10, "0")
    log = Log([(logits, True), (states, True), (logits, False), (gradient, True)])
    first = stage(Layout()).update(log, accumulating=False)
    assert (first.of(GRADIENTS), first.of(ACTIVATIONS, "policy"), first.of(LOGITS)) == (40, 20, 0)
    later = stage(Layout()).update(log, accumulating=True)
    assert later.of(GRADIENTS) == 4000 + 40


def test_sampling_keeps_gradients_and_copies_weights_on_cpu() -> None:
    memory = stage(Layout()).sampling("policy", 8, 100, 40, cache_bytes=4, pack=True)
    assert memory.of(CACHE) == 4 * 20 * 8 * 100
    assert memory.of(LOGITS) == 3 * 4 * 8 * 50
    assert (memory.of(PACKED), memory.of(GRADIENTS)) == (2000, 4000)
    assert stage(Layout()).sampling("policy", 3, 100, 40, cache_bytes=4, pack=True).of(PACKED) == 0
    sharded = stage(Layout("fsdp", shards=4)).sampling("policy", 8, 100, 40, cache_bytes=4, pack=True)
    assert (sharded.of(GATHERED), sharded.of(PACKED)) == (4000, 0)


def test_a_line_finds_the_largest_micro_batch() -> None:
    line = Line.through((10, 120.0), (30, 160.0))
    assert (line.fixed, line.slope, line.bytes(100)) == (100, 2, 300)
    assert line.tokens(300) == 100
    assert line.tokens(50) < 0
    assert Line.through((10, 5.0), (10, 5.0)).tokens(6) == float("inf")
    assert Line.through((10, 5.0), (10, 5.0)).tokens(4) == pytest.approx(-1)
