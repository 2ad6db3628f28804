"""What is allocated and freed, against counts by hand and against the same code with numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf.capacity.meter import ROOT, Log, Meter, Storage, fake
from rlhf.capacity.trace import pretend
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.architectures import skeleton
from rlhf.models.language import LanguageModel
from rlhf.models.parallel.offload import recompute_activations

SIZES = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 40}
ROWS = [Row((1,) * 7, ((2,) * 5, (3,) * 3), ((0, 1),)), Row((1,) * 4, ((2,) * 2,))]


def log_of(*events: tuple[Storage, bool]) -> Log:
    return Log(list(events))


def test_the_peak_by_hand() -> None:
    """a of 10 comes, b of 5 comes, a goes, c of 7 comes: 15 at most."""
    a, b, c = (Storage(size, "", 1) for size in (10, 5, 7))
    assert log_of((a, True), (b, True), (a, False), (c, True)).peak() == [a, b]


def test_gradients_pile_up_in_a_first_micro_batch_and_are_added_in_later_ones() -> None:
    """Activations 10 and 8, freed as gradients 6 and 9 come: 18, 18 - 8 + 6 = 16, then 6 + 9 = 15."""
    first, second = Storage(10, "", 1), Storage(8, "", 1)
    one, other = Storage(6, "", 1, "1"), Storage(9, "", 1, "0")
    log = log_of((first, True), (second, True), (one, True), (second, False), (other, True), (first, False))
    assert log.gradients == 15
    assert log.peak() == [first, one, other]  # 10 + 6 + 9, at the last gradient
    assert log.peak(accumulating=True) == [first, second, one]  # 24, but one is gone at once


def test_shards_reduce_a_block_when_the_next_one_begins_and_the_root_at_the_end() -> None:
    """Gradients of 8 (root), 6 + 2 (block 1), 4 (block 0), 8 (root): a group is copied, and leaves half of itself."""
    root, a, b, c, rest = (
        Storage(n, "policy", 1, group) for n, group in ((8, ROOT), (6, "1"), (2, "1"), (4, "0"), (8, ROOT))
    )
    log = log_of(*((storage, True) for storage in (root, a, b, c, rest)))
    # Block 1: 8 + 8 + a copy of 8; later 4 of it are left. The root: 16, its copy of 16, and 4 + 2 of the blocks.
    assert sorted(s.nbytes for s in log.peak(shards=2)) == [2, 4, 8, 8, 16]
    assert sum(s.nbytes for s in log.peak(shards=2, accumulating=True)) == 32
    assert sum(s.nbytes for s in log.peak(shards=2, accumulating=True, widened=2.0)) == 16 + 32


def test_a_product_and_its_gradient() -> None:
    """x [3, 4] · w [4, 5], summed: 60 bytes of product, 4 of the sum; w's gradient has 80."""
    with fake():
        x, w = torch.empty(3, 4), nn.Parameter(torch.empty(4, 5))
        model = nn.Module()
        model.w = w
        meter = Meter()
        meter.know([x, w])
        with meter:
            with meter.of("here"):
                loss = (x @ w).sum()
            loss.backward()
            meter.gradients_of("model", "0", model.parameters())
    made = [storage for storage, came in meter.log.events if came]
    assert [(s.nbytes, s.scope, s.width) for s in made[:2]] == [(60, "here", 5), (4, "here", 1)]
    assert meter.log.gradients == 80
    assert meter.log.events[2] == (made[0], False)  # nobody needs the product once it is summed


def events(model: LanguageModel, batch: Batch) -> list[tuple[int, int, bool, bool]]:
    meter = Meter()
    meter.know([*model.parameters(), *model.buffers()])
    with meter:
        stats: Any = model(batch)
        loss = -stats.logprobs.sum()
        del stats
        loss.backward()
        meter.gradients_of("model", "0", model.parameters())
    return [(s.nbytes, s.width, s.group is not None, came) for s, came in meter.log.events]


def faked(mode: Any, batch: Batch) -> Batch:
    found: Callable[[Tensor], Tensor] = mode.from_tensor
    tensors = {name: found(value) for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return Batch(**(vars(batch) | tensors))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_without_numbers_the_same_is_allocated_as_with_them(checkpointing: bool) -> None:
    with torch.device("meta"):
        model = LanguageModel(skeleton("causal", None, SIZES, None))
    real = LanguageModel(skeleton("causal", None, SIZES, None))
    for one in (model, real):
        if checkpointing:
            recompute_activations(one.hf)
    batch, mode = collate(ROWS), fake()
    with mode:
        pretend(model)
        found = events(model, faked(mode, batch))
    expected = events(real, batch)
    assert len(expected) > 100
    assert sorted(found) == sorted(expected)
    assert peak(found) == peak(expected)


def peak(found: list[tuple[int, int, bool, bool]]) -> int:
    now = highest = 0
    for size, _, _, came in found:
        now += size if came else -size
        highest = max(highest, now)
    return highest
