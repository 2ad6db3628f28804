from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.models.parallel.offload import recompute_activations
from rlhf.rollout.sampling import Completion, Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

EOS = 2
PROMPTS = [(3,), (4, 5, 6, 7, 8), (9, 10), (11, 12, 3, 4), (5, 5, 5), (6,), (7, 8, 9, 10, 11, 12, 3)]
REQUESTS = [Request(100 + i, prompt) for i, prompt in enumerate(PROMPTS)]
SAMPLING = Sampling(max_new_tokens=12, samples_per_prompt=3)


def sample(
    policy: LanguageModel, requests: Sequence[Request] = REQUESTS, sampling: Sampling = SAMPLING, max_rows: int = 64
) -> list[Completion]:
    return TorchSampler(policy, EOS, max_rows).sample(requests, sampling, seed=1, iteration=2)


def by_number(requests: Sequence[Request], found: list[Completion]) -> dict[tuple[int, int], tuple[int, ...]]:
    return {(requests[c.request].number, c.sample): c.tokens for c in found}


def test_answers_are_ordered_and_end_where_they_should(policy: LanguageModel) -> None:
    found = sample(policy)
    assert [(c.request, c.sample) for c in found] == [(r, s) for r in range(len(PROMPTS)) for s in range(3)]
    for c in found:
        assert EOS not in c.tokens[:-1]
        assert c.finished == (c.tokens[-1] == EOS)
        assert c.finished or len(c.tokens) == 12
        assert len(c.tokens) == len(c.logprobs)
    assert {c.finished for c in found} == {True, False}, "the test needs answers of both kinds"
    assert len({c.tokens for c in found}) > 15, "samples of a prompt should differ"


def test_end_of_text_at_the_last_position_counts_as_finished(policy: LanguageModel) -> None:
    whole = next(c for c in sample(policy) if c.finished and len(c.tokens) > 1)
    for room, finished in ((len(whole.tokens), True), (len(whole.tokens) - 1, False)):
        short = sample(policy, sampling=replace(SAMPLING, max_new_tokens=room))
        same = next(c for c in short if (c.request, c.sample) == (whole.request, whole.sample))
        assert same.tokens == whole.tokens[:room]
        assert same.finished == finished


@pytest.mark.parametrize("max_rows", [1, 4, 7, 64])
def test_samples_do_not_depend_on_who_is_beside_them(policy: LanguageModel, max_rows: int) -> None:
    expected = by_number(REQUESTS, sample(policy))
    backwards = REQUESTS[::-1]
    assert by_number(backwards, sample(policy, backwards, max_rows=max_rows)) == expected
    some = [REQUESTS[4], REQUESTS[1]]
    assert by_number(some, sample(policy, some, max_rows=max_rows)).items() <= expected.items()
    fewer = sample(policy, sampling=replace(SAMPLING, samples_per_prompt=2), max_rows=max_rows)
    assert by_number(REQUESTS, fewer).items() <= expected.items()


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_a_fresh_forward(policy: LanguageModel, temperature: float) -> None:
    found = sample(policy, sampling=replace(SAMPLING, temperature=temperature))
    rows = [Row(p, tuple(c.tokens for c in found if c.request == i), index=i) for i, p in enumerate(PROMPTS)]
    fresh = policy(collate(rows), temperature=temperature).logprobs
    drawn = torch.tensor([logprob for c in found for logprob in c.logprobs])
    torch.testing.assert_close(drawn, fresh, atol=1e-4, rtol=0)


def test_greedy_is_what_transformers_generates(policy: LanguageModel) -> None:
    found = sample(policy, sampling=Sampling(12, temperature=0))
    policy.eval()
    for c in found:
        ids = torch.tensor([PROMPTS[c.request]])
        theirs = policy.hf.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=EOS,
            pad_token_id=0,
        )
        assert c.tokens == tuple(theirs[0, ids.shape[1] :].tolist())
        assert set(c.logprobs) == {0.0}


def test_filters_hold_at_every_position(policy: LanguageModel) -> None:
    greedy = sample(policy, sampling=Sampling(12, temperature=0))
    assert [c.tokens for c in sample(policy, sampling=Sampling(12, top_k=1))] == [c.tokens for c in greedy]
    assert [c.tokens for c in sample(policy, sampling=Sampling(12, top_p=1e-6))] == [c.tokens for c in greedy]


def test_seed_iteration_and_stream_draw_anew(make_policy: Callable[..., LanguageModel]) -> None:
    sampler = TorchSampler(make_policy("gpt2"), EOS)
    base = {"seed": 1, "iteration": 2, "stream": 0}
    first = sampler.sample(REQUESTS, SAMPLING, **base)
    assert sampler.sample(REQUESTS, SAMPLING, **base) == first
    for change in ({"seed": 2}, {"iteration": 3}, {"stream": 1}):
        assert sampler.sample(REQUESTS, SAMPLING, **(base | change)) != first


def test_gradient_checkpointing_changes_no_sample(policy: LanguageModel) -> None:
    expected = sample(policy)
    recompute_activations(policy.hf)
    frozen = next(policy.hf.base_model.children()).eval()
    assert sample(policy) == expected
    assert policy.training
    assert not frozen.training, "modes must come back as they were"


def test_current_weights_are_used(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("llama")
    sampler = TorchSampler(policy, EOS)
    before = sampler.sample(REQUESTS, SAMPLING, seed=1, iteration=2)
    policy.load_state_dict(make_policy("llama", seed=1).state_dict())
    assert sampler.sample(REQUESTS, SAMPLING, seed=1, iteration=2) != before


def test_progress_counts_samples(make_policy: Callable[..., LanguageModel]) -> None:
    seen: list[tuple[int, int]] = []
    TorchSampler(make_policy("gpt2"), EOS, max_rows=9).sample(
        REQUESTS, SAMPLING, seed=1, iteration=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(set(seen)) and len(seen) > 5, "as responses end, whatever prompt they belong to"
    assert seen[-1] == (21, 21) and {total for _, total in seen} == {21}


def test_nothing_asked_nothing_answered_and_empty_prompts_refused(make_policy: Callable[..., LanguageModel]) -> None:
    policy = make_policy("gpt2")
    assert sample(policy, []) == []
    with pytest.raises(ValueError, match="empty prompt"):
        sample(policy, [Request(0, ())])
