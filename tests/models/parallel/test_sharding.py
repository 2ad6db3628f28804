"""Shards of one process: the same numbers, and nothing stale after what leaves parameters gathered."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import ConfigError
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.parallel.sharding import blocks, data_mesh, full_weights, gathered, settle, shard, shards
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

BATCH = collate([Row((1, 2, 3), ((4, 5, 6, 7, 8), (9,))), Row((11,), ((12, 13), (14, 15, 16), (17,)))])
REQUESTS = [Request(0, (1, 2, 3)), Request(1, (7,))]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def sharded(model: Any, **options: Any) -> Any:
    model = copy.deepcopy(model)
    shard(model, data_mesh("cpu", 1), **options)
    return model


def step(model: Any) -> torch.Tensor:
    """One update of plain gradient descent; returns the loss before it."""
    loss = -model(BATCH).logprobs.mean()
    loss.backward()
    with torch.no_grad():
        model(BATCH)  # leaves ZeRO-2's parameters gathered
        settle([model])
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
            parameter.grad = None
    return loss.detach()


@pytest.mark.parametrize("keep_gathered", [False, True])
def test_learning_is_the_same_with_rollouts_and_scoring_in_between(
    alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any], keep_gathered: bool
) -> None:
    plain = LanguageModel(make_hf("causal", architecture))
    model = sharded(plain, keep_gathered=keep_gathered)
    assert len(shards(model)) == len(blocks(plain)) + 1 == 3
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    seen = []
    for both in (plain, model):
        samples = TorchSampler(both, stop_ids=0).sample(REQUESTS, Sampling(8), seed=1, iteration=0)
        step(both)
        loss = step(both)
        with torch.no_grad():
            seen.append((samples, loss, both(BATCH).logprobs))
    assert [s.tokens for s in seen[0][0]] == [s.tokens for s in seen[1][0]]
    torch.testing.assert_close(seen[1][1:], seen[0][1:], atol=1e-5, rtol=0)


def test_a_rollout_gathers_once_and_gives_back(
    alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    model = sharded(LanguageModel(make_hf("causal", architecture)))
    gathers: list[Any] = []
    group = torch.distributed.fsdp._fully_shard._fsdp_param_group.FSDPParamGroup
    original = group._to_unsharded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "_to_unsharded", lambda self: (gathers.append(self), original(self)))
        TorchSampler(model, stop_ids=0).sample(REQUESTS, Sampling(20), seed=1, iteration=0)
    assert len(gathers) == 3  # two blocks and the root; at each token it would be sixty
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())


def test_a_head_outside_of_a_forward_pass(
    alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    model = sharded(LanguageModel(make_hf("causal", architecture)))
    with torch.no_grad():
        states = model.target_states(BATCH)
        with gathered(model, root_only=True):
            assert model.head(states).shape == (BATCH.n_targets, 53)
        with pytest.raises(RuntimeError, match="mixed torch"):
            model.head(states)


@pytest.mark.parametrize("kind", ["causal", "score"])
def test_whole_weights_are_those_that_transformers_saves(
    alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any], kind: str
) -> None:
    plain = (LanguageModel if kind == "causal" else ScoreModel)(make_hf(kind, architecture))
    assert full_weights(plain) is None
    found = full_weights(sharded(plain))
    assert found is not None
    theirs = dict(plain.hf.named_parameters())  # shared tensors once
    assert set(found) == set(theirs)
    for name, weight in theirs.items():
        torch.testing.assert_close(found[name], weight.detach(), atol=0, rtol=0)


def test_bf16_inside_fp32_outside(alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    plain = LanguageModel(make_hf("causal", architecture))
    model = sharded(plain, dtype=torch.bfloat16)
    stats = model(BATCH)
    stats.logprobs.mean().backward()
    assert stats.logprobs.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    gap = (stats.logprobs - plain(BATCH).logprobs).abs().max()
    assert 0 < gap < 0.1  # weights of 0.2 make logits of several nats: three digits of them


@pytest.mark.parametrize("kind", ["score", "value"])
def test_scalar_heads_are_fp32_beside_bf16(
    alone: None, make_hf: Callable[..., Any], architecture: dict[str, Any], kind: str
) -> None:
    """Weights that bf16 can't hold reach the scores and the values, learn, and are what a checkpoint holds."""
    plain: Any = (
        ScoreModel(make_hf("score", architecture))
        if kind == "score"
        else LanguageModel(make_hf("causal", architecture), value_head=True)
    )
    weight = (plain.hf.score if kind == "score" else plain.value_head).weight.data
    weight.copy_(1 + 2**-9 + 2**-10 * torch.arange(32))  # bf16 knows 1 and 1 + 2⁻⁷
    model = sharded(plain, dtype=torch.bfloat16)
    seen: list[torch.Tensor] = []
    backbone = model.hf.base_model
    backbone.register_forward_hook(lambda module, inputs, output: seen.append(output.last_hidden_state.detach()))
    found = model(BATCH) if kind == "score" else model(BATCH).values
    (states,) = seen
    assert states.dtype == torch.bfloat16 and found.dtype == torch.float32
    exact = (states.reshape(-1, 32).double() @ weight[0].double())[None]
    gaps = (found.detach().double()[:, None] - exact).abs().min(dim=1).values
    assert gaps.max() < 1e-5  # each is that of one of the states
    (found * torch.arange(len(found))).sum().backward()
    head = model.hf.score if kind == "score" else model.value_head
    gradient = head.weight.grad.full_tensor()
    assert gradient.dtype == torch.float32 and (gradient != gradient.bfloat16()).any()
    if kind == "score":
        torch.testing.assert_close(full_weights(model)["score.weight"], weight, atol=0, rtol=0)  # type: ignore[index]


def test_groups_must_use_up_the_processes(alone: None) -> None:
    with pytest.raises(ConfigError, match=r"strategy\.shard_size: 2 does not divide the 3 processes"):
        data_mesh("cpu", 3, 2)
