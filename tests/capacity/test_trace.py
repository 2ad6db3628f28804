"""Sizes of models without weights, and what options do to a traced micro-batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlhf.capacity.trace import Tracer, sizes_of
from rlhf.data.rows import Row
from rlhf.models.adapters import Lora, add_lora
from rlhf.models.architectures import skeleton
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.parallel.offload import recompute_activations

D, V, T, L = 16, 600, 64, 3
SIZES = {"model_type": "gpt2", "n_embd": D, "n_layer": L, "n_head": 2, "n_positions": T, "vocab_size": V}
ROWS = [Row((1,) * 20, ((2,) * 12,))] * 4
BLOCK = 12 * D * D + 13 * D
"""A block of GPT-2: four matrices of 12 D², their biases 9 D, two norms of 2 D each."""


def policy() -> dict[str, Any]:
    return {"policy": LanguageModel(skeleton("causal", None, SIZES, None))}


def peak(tracer: Tracer, rows: list[Row] = ROWS) -> int:
    return sum(storage.nbytes for storage in tracer.update(rows).peak(accumulating=True))


def test_sizes_by_hand() -> None:
    with torch.device("meta"):
        sizes = sizes_of(policy()["policy"])
    root = (V + T) * D + 2 * D  # the output layer is the embedding's, and counts once
    assert (sizes.block, sizes.root, sizes.total, sizes.trainable) == (BLOCK, root, root + L * BLOCK, root + L * BLOCK)
    assert sizes.linear == L * 12 * D * D
    assert sizes.packed == 0  # all are too small to be worth it
    assert sizes.cache == 2 * L * D
    assert (sizes.shape.weights, sizes.shape.vocabulary) == (L * 12 * D * D, V)


def test_grouped_queries_have_smaller_caches() -> None:
    llama = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 40,
    }
    with torch.device("meta"):
        sizes = sizes_of(ScoreModel(skeleton("score", None, llama, None)))
    assert sizes.cache == 2 * 2 * 2 * 8


def test_adapters_learn_and_the_rest_does_not() -> None:
    def adapted() -> dict[str, Any]:
        models = policy()
        add_lora(models["policy"].hf, Lora(r=2), seed=0)
        return models

    whole, tracer = Tracer(policy).sizes["policy"], Tracer(adapted)
    sizes = tracer.sizes["policy"]
    assert sizes.total - sizes.trainable == whole.total
    assert sizes.trainable == L * 2 * (D + 3 * D + D + D + D + 4 * D + 4 * D + D)
    assert tracer.update(ROWS).gradients == 4 * sizes.trainable


def test_gradients_are_those_of_all_parameters_and_nothing_is_left_of_an_earlier_trace() -> None:
    tracer = Tracer(policy)
    first, second = tracer.update(ROWS), tracer.update(ROWS)
    assert first.gradients == second.gradients == 4 * tracer.sizes["policy"].total
    assert [s.nbytes for s in first.peak()] == [s.nbytes for s in second.peak()]


def test_checkpointing_and_offloading_save_activations() -> None:
    def checkpointed() -> dict[str, Any]:
        models = policy()
        recompute_activations(models["policy"].hf)
        return models

    long = [Row((1,) * 50, ((2,) * 4,))] * 100
    usual, offloaded = Tracer(policy), Tracer(policy, offload=True)
    assert peak(Tracer(checkpointed), long) < 0.6 * peak(usual, long)
    assert peak(offloaded, long) < 0.6 * peak(usual, long)
    assert offloaded.update(long).moved > 1e6 and usual.update(long).moved == 0


def test_half_precision_halves_all_but_log_softmax() -> None:
    whole, half = Tracer(policy), Tracer(policy, half=True)
    assert half.update(ROWS).gradients == 2 * whole.sizes["policy"].total
    kept = [
        sum(s.nbytes for s in tracer.update(ROWS).peak(accumulating=True) if s.width != V) for tracer in (half, whole)
    ]
    assert kept[0] < 0.6 * kept[1]
    assert {s.nbytes for s in half.update(ROWS).peak(accumulating=True) if s.width == V} == {4 * 48 * V}
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("want_entropy", [False, True])
def test_ppo_traces_policy_and_critic(want_entropy: bool) -> None:
    def both() -> dict[str, Any]:
        return policy() | {"critic": ScoreModel(skeleton("score", None, SIZES, None))}

    tracer = Tracer(both, temperature=0.7, want_entropy=want_entropy, full_kl=True)
    log = tracer.update(ROWS)
    assert {storage.scope for storage in log.peak(accumulating=True)} == {"policy", "critic", ""}
    assert log.gradients == 4 * sum(sizes.trainable for sizes in tracer.sizes.values())
