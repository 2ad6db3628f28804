from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rlhf.models.language import LanguageModel
from rlhf.rollout.engine_probe import decoder_of
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

EOS = 2
PROMPTS = [(3,), (4, 5, 6, 7, 8), (9, 10), (11, 12, 3, 4), (5, 5, 5), (6,), (7, 8, 9, 10, 11, 12, 3)]
REQUESTS = [Request(100 + i, prompt) for i, prompt in enumerate(PROMPTS)]
SAMPLING = Sampling(max_new_tokens=12, samples_per_prompt=3)


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.6, "top_k": 5}, {"temperature": 0.0}])
def test_streamed_tokens_are_those_of_sample(policy: LanguageModel, changes: dict[str, float]) -> None:
    sampler, sampling = TorchSampler(policy, EOS), replace(SAMPLING, **changes)
    for where in ({"seed": 1, "iteration": 2}, {"seed": 3, "iteration": 0, "stream": 1}):
        found = [c for c in sampler.sample(REQUESTS, sampling, **where) if c.sample == 0]
        for request, completion in zip(REQUESTS, found, strict=True):
            assert tuple(sampler.stream(request, sampling, **where)) == completion.tokens
        assert changes or {c.finished for c in found} == {True, False}, "the test needs answers of both kinds"


def test_a_token_is_there_before_the_next_one_is_computed(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("gpt2")
    passes: list[bool] = []
    decoder_of(policy)  # tried once, with passes of its own
    policy.hf.base_model.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    tokens = TorchSampler(policy, EOS).stream(REQUESTS[1], SAMPLING, seed=1, iteration=2)
    assert len(passes) == 0
    for expected in (1, 2, 3):
        next(tokens)
        assert passes == [False] * expected, "gradients would keep every step in memory"


def test_a_stream_that_is_left_leaves_no_trace(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("gpt2")
    tokens = TorchSampler(policy, EOS).stream(REQUESTS[1], SAMPLING, seed=1, iteration=2)
    next(tokens)
    assert torch.is_grad_enabled(), "who reads the tokens may have gradients"
    assert not policy.training
    tokens.close()
    assert policy.training and all(module.training for module in policy.modules())


def test_an_empty_prompt_is_refused(make_policy: Callable[..., LanguageModel]) -> None:
    with pytest.raises(ValueError, match="empty prompt"):
        next(TorchSampler(make_policy("gpt2"), EOS).stream(Request(0, ()), SAMPLING, seed=1, iteration=2))
