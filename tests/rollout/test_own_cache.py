"""Models whose state is not keys and values are sampled exactly, with the same draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.families.configurations import architecture
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import ConfigError
from rlhf.models.files.loading import load_policy
from rlhf.rollout import engine_probe
from rlhf.rollout.sampling import Completion, Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from tests.models.tiny_families import FEW, louder

DECODERS = {"mistral": "slots", "jamba": "own", "qwen3_next": "own", "bloom": "own", "rwkv": "none"}
REQUESTS = [Request(0, (5, 6, 7, 8, 9, 10, 11)), Request(1, (20, 21, 22)), Request(2, (30, 31, 32))]


def loud(family: str) -> Any:
    model = load_policy(None, architecture(family), FEW, seed=0)
    louder(model.hf)
    return model


def sampled(model: Any, max_rows: int = 4, eos_id: int = FEW.eos_id, **options: Any) -> list[Completion]:
    sampling = Sampling(10, **({"samples_per_prompt": 2} | options))
    return TorchSampler(model, eos_id, max_rows).sample(REQUESTS, sampling, seed=0, iteration=0)


@pytest.mark.parametrize("family", DECODERS)
def test_drawn_logprobs_equal_plain_passes(family: str) -> None:
    model = loud(family)
    found = sampled(model)
    assert model.hf._rlhf_decoder == DECODERS[family]
    assert len(found) == 6 and max(len(c.tokens) for c in found) == 10
    for completion in found:
        with torch.no_grad():
            plain = model(collate([Row(REQUESTS[completion.request].tokens, (completion.tokens,))])).logprobs
        torch.testing.assert_close(torch.tensor(completion.logprobs), plain, atol=1e-3, rtol=1e-4)


def test_greedy_tokens_are_the_most_probable_ones() -> None:
    model = loud("jamba").eval()
    for completion in sampled(model, temperature=0, samples_per_prompt=1):
        ids = torch.tensor([REQUESTS[completion.request].tokens + completion.tokens])
        with torch.no_grad():
            best = model.hf(input_ids=ids, use_cache=False).logits[0].argmax(-1)
        start = len(REQUESTS[completion.request].tokens) - 1
        assert best[start:-1].tolist() == list(completion.tokens)


@pytest.mark.parametrize("decoder", ["own", "none"])
@pytest.mark.parametrize("max_rows", [4, 1])
def test_every_decoder_draws_the_same(decoder: str, max_rows: int) -> None:
    model = loud("mistral")
    model.hf.generation_config.update(repetition_penalty=1.7, suppress_tokens=[5], temperature=0.3)
    eos_id = sampled(model)[0].tokens[4]
    fast = sampled(model, eos_id=eos_id)
    assert any(completion.finished for completion in fast) and not all(completion.finished for completion in fast)
    model.hf._rlhf_decoder = decoder
    slow = sampled(model, max_rows, eos_id)
    for one, other in zip(fast, slow, strict=True):
        assert (one.tokens, one.finished, one.sample) == (other.tokens, other.finished, other.sample)
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-3, rtol=1e-4)
    assert model.hf.generation_config.repetition_penalty == 1.7


def test_streams_are_the_first_sample() -> None:
    model = loud("jamba")
    sampler = TorchSampler(model, FEW.eos_id)
    drawn = list(sampler.stream(REQUESTS[1], Sampling(10), seed=0, iteration=0))
    assert tuple(drawn) == sampled(model)[2].tokens


def test_a_model_that_no_decoder_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_probe, "_differs", lambda *args: "log-probabilities differ by 3")
    with pytest.raises(ConfigError, match=r"^rollout\.engine: torch can't sample from a llama: .* differ by 3"):
        sampled(loud("llama"))
