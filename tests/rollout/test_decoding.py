"""Continuous batching against the plain way: a whole forward pass for each token of each response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from rlhf.errors import ConfigError
from rlhf.models.language import LanguageModel
from rlhf.rollout.decoding import Decoder
from rlhf.rollout.engine_probe import decoder_of
from rlhf.rollout.sampling import Completion, Request, Sampling, filtered_logits
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.uniforms import uniforms

EOS = 2
PROMPTS = [(3,), (4, 5, 6, 7, 8), (9, 10), (11, 12, 3, 4), (5, 5, 5), (6,), (7, 8, 9, 10, 11, 12, 3)]
REQUESTS = [Request(100 + i, prompt) for i, prompt in enumerate(PROMPTS)]
SAMPLING = Sampling(max_new_tokens=12, samples_per_prompt=3)


def sample(policy: LanguageModel, sampling: Sampling = SAMPLING, max_rows: int = 64) -> list[Completion]:
    return TorchSampler(policy, EOS, max_rows).sample(REQUESTS, sampling, seed=1, iteration=2)


@torch.no_grad()
def plainly(policy: LanguageModel, sampling: Sampling = SAMPLING) -> list[Completion]:
    """One response after the other, without a cache; a token is the first whose CDF exceeds the draw."""
    policy.eval()
    found = []
    for place, request in enumerate(REQUESTS):
        for number in range(sampling.samples_per_prompt):
            draws = uniforms(1, 2, [(request.number, number)], sampling.max_new_tokens)[0]
            tokens, logprobs = list(request.tokens), []
            for uniform in draws:
                logits = policy.hf(input_ids=torch.tensor([tokens]), use_cache=False).logits[:, -1]
                distribution = filtered_logits(logits, sampling).double().log_softmax(-1)[0]
                token = int((distribution.exp().cumsum(-1) <= uniform).sum())
                tokens.append(token)
                logprobs.append(float(distribution[token]))
                if token == EOS:
                    break
            drawn = tuple(tokens[len(request.tokens) :])
            found.append(Completion(place, number, drawn, tuple(logprobs), drawn[-1] == EOS))
    policy.train()
    return found


def check_equal(found: list[Completion], expected: list[Completion]) -> None:
    assert [replace(c, logprobs=()) for c in found] == [replace(c, logprobs=()) for c in expected]
    drawn, fresh = (torch.tensor([x for c in answers for x in c.logprobs]) for answers in (found, expected))
    torch.testing.assert_close(drawn, fresh, atol=1e-4, rtol=0)


def read(policy: LanguageModel) -> list[tuple[int, int]]:
    """The [B, T] of every forward pass that is yet to come, but for those that try the decoder."""
    decoder_of(policy)
    shapes: list[tuple[int, int]] = []
    policy.hf.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return shapes


@pytest.mark.parametrize("changes", [{}, {"temperature": 1.3, "top_k": 9, "top_p": 0.95}])
def test_tokens_are_those_of_whole_forward_passes(policy: LanguageModel, changes: dict[str, Any]) -> None:
    sampling = replace(SAMPLING, **changes)
    expected = plainly(policy, sampling)
    assert len({len(c.tokens) for c in expected}) > 3, "the test needs responses that end early, at several positions"
    for max_rows in (1, 2, 5, 64):
        check_equal(sample(policy, sampling, max_rows), expected)


@pytest.mark.parametrize("layer_types", [None, ["sliding_attention", "full_attention"]])
def test_windows_hide_what_is_far(layer_types: list[str] | None) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"use_sliding_window": True, "layer_types": layer_types} if layer_types else {}
    config = transformers.AutoConfig.for_model(
        "qwen2" if layer_types else "mistral",
        **(sizes | {"num_key_value_heads": 2, "vocab_size": 13, "initializer_range": 0.4, "sliding_window": 4}),
        **(more | {"bos_token_id": None, "eos_token_id": EOS, "pad_token_id": None}),
    )
    policy = LanguageModel(transformers.AutoModelForCausalLM.from_config(config))
    check_equal(sample(policy, max_rows=5), plainly(policy))


def test_layers_without_attention_have_no_slots(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("llama")
    policy.hf.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ConfigError, match="layers of linear_attention"):
        Decoder(policy, [(3,)], SAMPLING, np.zeros((3, 12)), stop_ids=(EOS,), max_rows=3)


def test_a_prompt_is_read_once_for_all_of_its_samples(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("llama")
    shapes = read(policy)
    sample(policy, max_rows=21)
    assert shapes[0] == (7, 7), "7 prompts, the longest of 7 tokens"
    assert {length for _, length in shapes[1:]} == {1}
    assert shapes[1][0] <= 21
    assert len(shapes) == 12, "the last token of a response is never read"


def test_prompts_of_similar_length_are_read_together(
    make_policy: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf.rollout.decoding.PREFILL", 8)
    policy = make_policy("llama")
    expected, shapes = plainly(policy), read(policy)
    check_equal(sample(policy, max_rows=21), expected)
    assert shapes[:4] == [(1, 7), (1, 5), (2, 4), (3, 2)]


def test_waiting_prompts_take_the_place_of_finished_rows(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("gpt2")
    lengths = sorted(len(c.tokens) for c in sample(policy))
    shapes = read(policy)
    sample(policy, max_rows=4)
    steps = [rows for rows, length in shapes if length == 1]
    assert max(rows for rows, _ in shapes) <= 4
    prompts_read = [i for i, (_, length) in enumerate(shapes) if length > 1]
    assert len(prompts_read) >= 3 and prompts_read[-1] > 3, "prompts of one token are counted as steps"
    # In groups of a prompt each, every group would take as long as its longest response.
    assert len(steps) < 0.9 * sum(max(len(c.tokens) for c in sample(policy) if c.request == p) for p in range(7))
    assert sum(lengths) > 4 * 12


def test_the_cache_has_the_size_that_is_needed(
    make_policy: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlhf.rollout import decoding

    made: list[tuple[int, int]] = []

    class Counted(decoding.SlotCache):
        def __init__(self, slots: int, capacity: int) -> None:
            made.append((slots, capacity))
            super().__init__(slots, capacity)

    policy = make_policy("gpt2")
    decoder_of(policy)
    monkeypatch.setattr(decoding, "SlotCache", Counted)
    for max_rows, slots in ((4, 4), (64, 21)):
        sample(policy, max_rows=max_rows)
        assert made.pop() == (slots, 7 + 12 - 1) and not made


@pytest.mark.parametrize("weights", [True, False])
def test_in_bf16(policy: LanguageModel, weights: bool) -> None:
    """bf16 weights, or autocast over fp32 ones: as near to fp32 as 8 bits of precision are."""
    exact = {(c.request, c.sample): c for c in sample(policy)}
    if weights:
        policy.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not weights):
        found = sample(policy, max_rows=5)
        assert sample(policy, max_rows=5) == found
    near = 0
    for c in found:
        for token, logprob, other, fresh in zip(
            c.tokens, c.logprobs, exact[c.request, c.sample].tokens, exact[c.request, c.sample].logprobs, strict=False
        ):
            if token != other:
                break
            assert abs(logprob - fresh) < 0.1
            near += 1
    assert near > 0.5 * sum(len(c.tokens) for c in found)


@pytest.mark.slow
def test_a_compiled_backbone_draws_the_same(make_policy: Callable[..., LanguageModel]) -> None:
    """`strategy.compile` reaches the decoding too; growing lengths and changing batches trace no graph anew."""
    import torch._dynamo

    policy = make_policy("llama")
    expected = sample(policy, max_rows=5)
    policy.hf.base_model.compile(dynamic=True, backend="eager")
    torch._dynamo.reset()
    check_equal(sample(policy, max_rows=5), expected)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    check_equal(sample(policy, max_rows=5), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs < 8
