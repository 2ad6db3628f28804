"""Layers split over processes: which are, which models can be, and one norm of gradients that lie on two meshes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import ConfigError
from rlhf.models.language import LanguageModel
from rlhf.models.parallel.sharding import clip_gradients, full_weights, shard
from rlhf.models.parallel.tensor import check_plan
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

BATCH = collate([Row((1, 2, 3), ((4, 5, 6, 7, 8), (9,))), Row((11,), ((12, 13), (14, 15, 16), (17,)))])
SPLIT = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one: a mesh of two dimensions all the same. Several: tests/strategies/test_tensor.py."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(params=["llama", "qwen2", "biased"])
def splittable(request: pytest.FixtureRequest, architectures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Biases of layers that are split by their inputs are on both dimensions too, and whole on one of them."""
    biased = architectures["llama"] | {"attention_bias": True, "mlp_bias": True}
    return (architectures | {"biased": biased})[request.param]


def split_and_sharded(model: Any) -> Any:
    model = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    shard(model, mesh["data_parallel"], tensor_mesh=mesh["tensor_parallel"])
    return model


def test_linear_layers_of_blocks_are_on_both_dimensions_and_all_else_on_one(
    alone: None, make_hf: Callable[..., Any], splittable: dict[str, Any]
) -> None:
    model = split_and_sharded(LanguageModel(make_hf("causal", splittable), value_head=True))
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor)
        both = parameter.device_mesh.ndim == 2
        assert both == bool(SPLIT & set(name.split("."))), name


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_norm_and_clipped_gradients_over_two_meshes(
    alone: None, make_hf: Callable[..., Any], splittable: dict[str, Any], limit: float
) -> None:
    plain = LanguageModel(make_hf("causal", splittable))
    model = split_and_sharded(plain)
    found = []
    for both in (plain, model):
        (-both(BATCH).logprobs.mean()).backward()
        found.append(clip_gradients(list(both.parameters()), limit))
    assert found[0] == pytest.approx(found[1], rel=1e-6) and 1e-3 < found[0] < 1e3
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad, atol=1e-7 * limit, rtol=1e-5)


def test_samples_and_whole_weights(alone: None, make_hf: Callable[..., Any], splittable: dict[str, Any]) -> None:
    plain = LanguageModel(make_hf("causal", splittable))
    model = split_and_sharded(plain)
    requests = [Request(0, (1, 2, 3)), Request(1, (7,))]
    ours, theirs = (
        TorchSampler(m, stop_ids=0).sample(requests, Sampling(8), seed=1, iteration=0) for m in (model, plain)
    )
    assert [s.tokens for s in ours] == [s.tokens for s in theirs]
    found = full_weights(model)
    assert found is not None
    wanted = dict(plain.hf.named_parameters())
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight.detach(), atol=0, rtol=0)


def test_what_can_be_split(make_hf: Callable[..., Any], splittable: dict[str, Any]) -> None:
    for kind in ("causal", "score"):
        check_plan(make_hf(kind, splittable), 2)


OTHERS = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4}, 2, "transformers has no plan by which to split"),
    ({"model_type": "llama", **OTHERS}, 3, "3 does not divide the 4 attention heads of this llama; pass a number"),
    ({"model_type": "qwen2", "num_key_value_heads": 1, **OTHERS}, 2, "2 does not divide the 1 key–value heads of this"),
    (
        {"model_type": "llama", **OTHERS, "intermediate_size": 46},
        4,
        "4 does not divide the 46 columns of layers.0.mlp.gate_proj of this llama",
    ),
    (
        {"model_type": "qwen3", **OTHERS, "head_dim": 8, "num_key_value_heads": 4},
        2,
        "the plan of a qwen3 has layers of",
    ),
]


@pytest.mark.parametrize(("architecture", "size", "sentence"), REFUSED, ids=[text[:24] for _, _, text in REFUSED])
def test_refusals(make_hf: Callable[..., Any], architecture: dict[str, Any], size: int, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_plan(make_hf("causal", architecture), size)
    assert str(caught.value).startswith(f"strategy.tensor_parallel: {sentence}")
    assert "\n" not in str(caught.value)


def test_only_linear_layers_are_split(make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]) -> None:
    hf = make_hf("score", architectures["llama"])
    hf.base_model.layers[0].mlp.up_proj = nn.Identity()
    with pytest.raises(ConfigError, match=r"layers\.0\.mlp\.up_proj of this llama is of the class Identity, and only"):
        check_plan(hf, 2)
