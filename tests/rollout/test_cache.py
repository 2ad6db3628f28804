from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlhf.rollout.cache import SlotCache, SlotLayer


def states(rows: int, length: int, start: float) -> tuple[Tensor, Tensor]:
    """Keys and values [rows, 2 heads, length, width 3 or 4], all different."""
    keys = start + torch.arange(rows * 2 * length * 3).reshape(rows, 2, length, 3).float()
    return keys, 0.5 - start - torch.arange(rows * 2 * length * 4).reshape(rows, 2, length, 4).float()


@pytest.fixture
def cache() -> SlotCache:
    return SlotCache(slots=5, capacity=7)


def put_prompts(cache: SlotCache, slots: list[int], prompts: list[int], keys: Tensor, values: Tensor) -> None:
    cache.expect_prompts(torch.tensor(slots), torch.tensor(prompts), keys.shape[2])
    found = cache.update(keys, values, 0)
    assert found[0] is keys and found[1] is values, "a prompt reads itself"


def layer_of(cache: SlotCache) -> SlotLayer:
    return cache.layers[0]


def test_a_prompt_goes_to_all_of_its_slots(cache: SlotCache) -> None:
    keys, values = states(2, 3, 10)
    put_prompts(cache, [0, 1, 2, 3], [0, 0, 0, 1], keys, values)
    layer = layer_of(cache)
    assert layer.keys.shape == (5, 2, 7, 3) and layer.values.shape == (5, 2, 7, 4)
    for slot, prompt in enumerate([0, 0, 0, 1]):
        assert torch.equal(layer.keys[slot, :, :3], keys[prompt])
        assert torch.equal(layer.values[slot, :, :3], values[prompt])
    assert not layer.keys[4].any() and not layer.values[:, :, 3:].any()


def test_tokens_are_written_in_place_and_read_as_views(cache: SlotCache) -> None:
    put_prompts(cache, [0, 1], [0, 1], *states(2, 3, 10))
    layer = layer_of(cache)
    before = layer.keys.data_ptr(), layer.values.data_ptr()
    keys, values = states(2, 1, 1000)
    cache.expect_tokens(torch.tensor([3, 1]), 4)
    assert cache.get_seq_length() == 3 and cache.get_mask_sizes(1, 0) == (4, 0)
    found = cache.update(keys, values, 0)
    assert [x.shape for x in found] == [(2, 2, 4, 3), (2, 2, 4, 4)]
    assert (found[0].data_ptr(), found[1].data_ptr()) == before == (layer.keys.data_ptr(), layer.values.data_ptr())
    for slot, position in enumerate([3, 1]):
        assert torch.equal(found[0][slot, :, position], keys[slot, :, 0])
        assert torch.equal(found[1][slot, :, position], values[slot, :, 0])
    assert torch.equal(found[0][1, :, 2], states(2, 3, 10)[0][1, :, 2]), "other positions stay"


def test_slots_are_copied_over_others(cache: SlotCache) -> None:
    keys, values = states(4, 3, 10)
    put_prompts(cache, [0, 1, 2, 3], [0, 1, 2, 3], keys, values)
    cache.move(torch.tensor([3, 2]), torch.tensor([0, 1]), 2)
    layer = layer_of(cache)
    assert torch.equal(layer.keys[:2, :, :2], keys[[3, 2], :, :2])
    assert torch.equal(layer.values[:2, :, :2], values[[3, 2], :, :2])
    assert torch.equal(layer.keys[:2, :, 2], keys[:2, :, 2]), "no more than is needed"
    assert torch.equal(layer.keys[2:4, :, :3], keys[2:])


def test_what_no_token_was_written_to_is_finite(cache: SlotCache) -> None:
    """Attention weighs masked positions with 0, and 0 × NaN is NaN."""
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    try:
        put_prompts(cache, [0], [0], *states(1, 3, 10))
    finally:
        torch.use_deterministic_algorithms(False)
    assert layer_of(cache).keys.isfinite().all() and layer_of(cache).values.isfinite().all()


def test_autocast_converts_once() -> None:
    for enabled, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        cache = SlotCache(slots=2, capacity=4)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            put_prompts(cache, [0], [0], *states(1, 3, 10))
        assert layer_of(cache).keys.dtype == layer_of(cache).values.dtype == dtype
