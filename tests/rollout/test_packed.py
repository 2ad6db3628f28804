from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.adapters import Lora, add_lora
from rlhf.models.language import LanguageModel
from rlhf.rollout import packed
from rlhf.rollout.packed import packed_weights
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

MANY = {"rows": 8, "steps": 100}


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def logits(policy: LanguageModel) -> Tensor:
    ids = torch.arange(3, 11)[None]
    return policy.head(policy.hf.base_model(input_ids=ids, use_cache=False).last_hidden_state)


def attributes(policy: LanguageModel) -> set[tuple[str, str, int]]:
    """Which objects are found under which names: a difference of tensors would take minutes to print."""
    return {(name, key, id(value)) for name, module in policy.named_modules() for key, value in vars(module).items()}


def replaced(policy: LanguageModel) -> set[str]:
    return {name for name, module in policy.named_modules() if "forward" in vars(module)}


def test_the_same_logits_from_all_linear_layers_and_the_output_layer(policy: LanguageModel) -> None:
    for parameter in policy.parameters():
        parameter.add_(torch.randn_like(parameter) / 20)  # GPT-2's biases are born as zeros
    expected = logits(policy)
    with packed_weights(policy, **MANY):
        torch.testing.assert_close(logits(policy), expected, atol=1e-4, rtol=0)
        linear = {name for name, module in policy.named_modules() if type(module).__name__ in ("Linear", "Conv1D")}
        assert replaced(policy) == linear and "hf.lm_head" in linear and len(linear) >= 9


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_bf16(policy: LanguageModel, dtype: torch.dtype | None) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bf16 products")
    policy.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is None):
        expected = logits(policy)
        with packed_weights(policy, **MANY):
            found = logits(policy)
            assert replaced(policy)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(policy: LanguageModel, fails: bool) -> None:
    before, weights = attributes(policy), {k: v.clone() for k, v in policy.state_dict().items()}
    try:
        with packed_weights(policy, **MANY):
            logits(policy)
            assert replaced(policy)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert attributes(policy) == before
    assert all(torch.equal(weights[name], value) for name, value in policy.state_dict().items())


def test_an_error_while_packing_leaves_the_model_as_it_was(
    policy: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, calls = packed._product, []

    def third_fails(*args: Any) -> Callable[[Tensor], Tensor]:
        calls.append(args)
        if len(calls) == 3:
            raise MemoryError
        return product(*args)

    monkeypatch.setattr(packed, "_product", third_fails)
    with pytest.raises(MemoryError), packed_weights(policy, **MANY):
        pass
    assert not replaced(policy)


def test_new_weights_are_seen(policy: LanguageModel, make_policy: Callable[..., LanguageModel]) -> None:
    with packed_weights(policy, **MANY):
        old = logits(policy)
    for parameter in policy.parameters():
        parameter.mul_(1.1)
    expected = logits(policy)
    with packed_weights(policy, **MANY):
        torch.testing.assert_close(logits(policy), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(old, expected, atol=1e-3)


def test_the_sampler_packs_and_draws_the_same(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, sampling = [Request(i, (3 + i, 4)) for i in range(6)], Sampling(30, samples_per_prompt=2)
    found, within = [], []
    policy.hf.base_model.register_forward_hook(lambda *_: within.append(bool(replaced(policy))))
    for smallest in (1, 1 << 30):
        monkeypatch.setattr(packed, "SMALLEST", smallest)
        within.clear()
        found.append(TorchSampler(policy, 2).sample(requests, sampling, seed=0, iteration=0))
        assert set(within) == {smallest == 1}
        assert not replaced(policy)
    for c, plain in zip(*found, strict=True):
        assert c.tokens == plain.tokens
        assert c.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


@pytest.mark.parametrize("few", [{"rows": 1, "steps": 100}, {"rows": 8, "steps": 4}])
def test_not_where_it_does_not_pay(policy: LanguageModel, few: dict[str, int]) -> None:
    with packed_weights(policy, **few):
        assert not replaced(policy)


def test_layers_that_do_more_are_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = nn.Sequential(Doubled(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    own = nn.Linear(8, 8).forward
    model[1].forward = own
    with packed_weights(model, **MANY):
        assert "forward" not in vars(model[0]) and model[1].forward is own and "forward" in vars(model[2])
    assert model[1].forward is own


def adapted(policy: LanguageModel) -> LanguageModel:
    add_lora(policy.hf, Lora(r=4), seed=0)
    for name, parameter in policy.named_parameters():
        if ".lora_B." in name:
            parameter.normal_(std=0.2)
    return policy


def test_adapters_are_merged_into_what_is_packed(policy: LanguageModel) -> None:
    plain = logits(policy)
    adapted(policy)
    expected, weights = logits(policy), {k: v.clone() for k, v in policy.state_dict().items()}
    assert not torch.allclose(plain, expected, atol=1e-2)
    with packed_weights(policy, **MANY):
        torch.testing.assert_close(logits(policy), expected, atol=1e-4, rtol=0)
        layers = {name for name, module in policy.named_modules() if hasattr(module, "lora_A")}
        assert replaced(policy) == layers | {"hf.lm_head"}
    assert not replaced(policy)
    assert all(torch.equal(weights[name], value) for name, value in policy.state_dict().items())


@pytest.mark.parametrize("smallest", [1, 1 << 30])
def test_log_probabilities_of_samples_are_those_of_base_and_adapter(
    policy: LanguageModel, smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SMALLEST", smallest)
    adapted(policy)
    requests = [Request(i, (3 + i, 4)) for i in range(6)]
    drawn = TorchSampler(policy, 2).sample(requests, Sampling(30, samples_per_prompt=2), seed=0, iteration=0)
    rows = [Row(requests[c.request].tokens, (c.tokens,), index=i) for i, c in enumerate(drawn)]
    stats: Any = policy(collate(rows))
    torch.testing.assert_close(stats.logprobs, torch.tensor([x for c in drawn for x in c.logprobs]), atol=1e-4, rtol=0)
