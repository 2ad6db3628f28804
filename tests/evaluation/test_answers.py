"""What is measured of a model's own samples: KL, likelihood, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.answers import (
    Answer,
    kl_to_reference,
    response_logprobs,
    sample_answers,
    seed_of,
    text_bits_per_byte,
)
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.winrates import win_rate
from rlhf.models.language import LanguageModel
from rlhf.rollout.sampling import Sampling
from rlhf.rollout.torch_sampler import TorchSampler

EOS = 2
Make = Callable[[int], LanguageModel]
PROMPTS = [Row(tuple(range(3, 3 + n)), index=n) for n in (2, 5, 3)]


def sampled(policy: LanguageModel, seed: int, samples: int = 1, temperature: float = 1.0) -> list[list[Answer]]:
    """Answers of at most 6 tokens."""
    template = template_for(load_tokenizer("tiny"))
    sampling = Sampling(6, temperature, samples_per_prompt=samples)
    return sample_answers(TorchSampler(policy, EOS, 64), template, PROMPTS, sampling, seed)


def test_seeds_differ_by_name_and_purpose_and_do_not_depend_on_company() -> None:
    seeds = [
        seed_of(1, "answers", "sft"),
        seed_of(1, "answers", "ppo"),
        seed_of(1, "guide", "sft"),
        seed_of(2, "answers", "sft"),
    ]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of(1, "answers", "sft") == seeds[0]


def test_samples_belong_to_their_prompts(make_policy: Make) -> None:
    found = sampled(make_policy(0), seed=1, samples=3)
    assert [len(group) for group in found] == [3, 3, 3]
    for row, group in zip(PROMPTS, found, strict=True):
        for answer in group:
            assert (answer.row.prompt, answer.row.index) == (row.prompt, row.index)
            assert answer.length == len(answer.row.responses[0]) <= 6
            assert answer.finished == (answer.row.responses[0][-1] == EOS)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_and_the_reader_agree(make_policy: Make, temperature: float) -> None:
    """KL subtracts the one's log-probabilities from the other's."""
    policy = make_policy(0)
    answers = [answer for group in sampled(policy, 1, 4, temperature) for answer in group]
    read = response_logprobs(policy, [answer.row for answer in answers], temperature, budget=16)
    assert [answer.logprob for answer in answers] == pytest.approx(read, abs=1e-4)
    assert kl_to_reference(answers, policy, temperature) == pytest.approx(0, abs=1e-4)


def test_kl_is_summed_over_tokens_and_averaged_over_responses(make_policy: Make) -> None:
    policy, reference = make_policy(0), make_policy(1)
    answers = [group[0] for group in sampled(policy, 1)]
    expected = 0.0
    for answer in answers:
        logits = reference.hf(torch.tensor([[*answer.row.prompt, *answer.row.responses[0]]])).logits[0]
        start = len(answer.row.prompt)
        theirs = sum(
            float(logits[start + t - 1].log_softmax(-1)[token]) for t, token in enumerate(answer.row.responses[0])
        )
        expected += (answer.logprob - theirs) / len(answers)
    assert kl_to_reference(answers, reference, 1.0) == pytest.approx(expected, abs=1e-3)
    assert kl_to_reference([], reference, 1.0) is None


def test_kl_is_that_of_the_distributions(make_policy: Make) -> None:
    """One token an answer: the mean of k1 must come near to the exact KL, and be of its sign."""
    policy, reference = make_policy(0), make_policy(1)
    row = Row((3, 4, 5), index=0)
    template = template_for(load_tokenizer("tiny"))
    (answers,) = sample_answers(
        TorchSampler(policy, EOS, 4096), template, [row], Sampling(1, samples_per_prompt=4000), seed=5
    )
    ours, theirs = (model.hf(torch.tensor([row.prompt])).logits[0, -1].log_softmax(-1) for model in (policy, reference))
    exact = float((ours.exp() * (ours - theirs)).sum())
    spread = math.sqrt(float((ours.exp() * (ours - theirs).square()).sum()) - exact**2)
    assert exact > 0.1
    assert kl_to_reference(answers, reference, 1.0) == pytest.approx(exact, abs=4 * spread / math.sqrt(4000))


def test_bits_per_byte_counts_all_nats_over_all_bytes(make_policy: Make) -> None:
    policy = make_policy(0)
    rows = [Row((3,), ((4, 5, EOS),), n_bytes=10, index=7), Row((3, 4), ((6, EOS),), n_bytes=30, index=7)]
    nats = [-float(policy(collate([row])).logprobs.sum()) for row in rows]
    assert text_bits_per_byte(policy, rows) == pytest.approx(sum(nats) / 40 / math.log(2), rel=1e-5)
    assert text_bits_per_byte(policy, []) is None


def test_a_model_ties_with_itself_under_another_seed(make_policy: Make) -> None:
    """By any measure of an answer; here its length, and how much of it is one token."""
    policy = make_policy(0)
    first, second = (sampled(policy, seed_of(1, "answers", name), 100) for name in ("sft", "again"))
    answers = [[answer for group in groups for answer in group] for groups in (first, second)]
    tokens = [[answer.row.responses[0] for answer in mine] for mine in answers]
    assert tokens[0] != tokens[1]
    assert sum(a == b for a, b in zip(*tokens, strict=True)) < 150, "two seeds share no draws"
    for measure in (lambda drawn: float(len(drawn)), lambda drawn: drawn.count(4) / len(drawn)):
        found = win_rate(*([Mark(measure(drawn)) for drawn in mine] for mine in tokens))
        assert found is not None and found.low <= 0.5 <= found.high
        assert found.n == 300
