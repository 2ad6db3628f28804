from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from rlhf.rollout.sampling import CANDIDATES, Sampling, draw, filtered_logits


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 4, 100])
@pytest.mark.parametrize("top_p", [0.1, 0.6, 0.95, 1.0])
def test_filters_are_those_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(40, 31, generator=torch.Generator().manual_seed(0)) * 3
    ids, theirs = torch.zeros(40, 1, dtype=torch.long), logits
    if temperature != 1:
        theirs = TemperatureLogitsWarper(temperature)(ids, theirs)
    if top_k:
        theirs = TopKLogitsWarper(top_k)(ids, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(ids, theirs)
    torch.testing.assert_close(filtered_logits(logits, Sampling(1, temperature, top_k, top_p)), theirs)


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_top_p_of_a_large_vocabulary(spread: float) -> None:
    """Whether the most probable entries have enough (3.0: four hold 0.9) or all have to be sorted (0.1)."""
    logits = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) * spread
    theirs = TopPLogitsWarper(0.9)(torch.zeros(3, 1, dtype=torch.long), logits)
    ours = filtered_logits(logits, Sampling(1, top_p=0.9))
    assert (theirs.isfinite().sum(-1) > CANDIDATES).tolist() == [spread == 0.1] * 3
    # Sums of thousands of fp32 numbers in another order: an entry at the boundary may fall on either side.
    assert (ours.isfinite() != theirs.isfinite()).sum() <= 3
    beside = torch.cat([logits[:1], torch.zeros(1, 5000)])
    assert torch.equal(filtered_logits(beside, Sampling(1, top_p=0.9))[0], ours[0])


def test_top_p_keeps_equals_together() -> None:
    left = filtered_logits(torch.tensor([[0.0, 2.0, 2.0, 2.0, 1.0]]), Sampling(1, top_p=0.3))
    assert left.isfinite().tolist() == [[False, True, True, True, False]]


def test_one_token_is_always_left() -> None:
    left = filtered_logits(torch.tensor([[1.0, 3.0, 2.0]]), Sampling(1, top_p=0.0))
    assert left.isfinite().tolist() == [[False, True, False]]


def test_greedy_leaves_the_first_best_token() -> None:
    left = filtered_logits(torch.tensor([[0.0, 5.0, 5.0], [7.0, 1.0, 2.0]]), Sampling(1, temperature=0))
    assert left.exp().tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_half_precision_logits_are_filtered_in_fp32() -> None:
    assert filtered_logits(torch.randn(2, 5).bfloat16(), Sampling(1)).dtype == torch.float32


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def test_frequencies_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.05, 0.25])
    n = 100_000
    uniform = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens, logprobs = draw(probabilities.log().expand(n, -1), uniform)
    counts = torch.bincount(tokens, minlength=5)
    error = (counts / n - probabilities).abs()
    assert counts[1] == 0
    assert (error < 4 * (probabilities * (1 - probabilities) / n).sqrt() + 1e-9).all()
    torch.testing.assert_close(logprobs, probabilities.log()[tokens])


@pytest.mark.parametrize(
    ("probabilities", "first", "last"),
    [((0.0, 0.3, 0.0, 0.7, 0.0), 1, 3), ((1.0, 0.0), 0, 0), ((0.0, 1.0), 1, 1), ((0.25,) * 4, 0, 3)],
)
def test_the_edges_of_the_unit_interval(probabilities: tuple[float, ...], first: int, last: int) -> None:
    for uniform, expected in ((0.0, first), (1 - 2**-53, last), (math.nextafter(1, 0), last)):
        tokens, logprobs = draw(logits_of(*probabilities), torch.tensor([uniform], dtype=torch.float64))
        assert tokens.tolist() == [expected]
        assert logprobs.isfinite().all()


def test_a_boundary_belongs_to_the_next_possible_token() -> None:
    tokens, _ = draw(logits_of(0.5, 0.0, 0.5), torch.tensor([0.5], dtype=torch.float64))
    assert tokens.tolist() == [2]


def test_impossible_tokens_are_never_drawn_from_large_vocabularies() -> None:
    """Rounding in 50,257 sums must not push the largest uniform past the last token that is possible."""
    logits = torch.randn(4, 50_257, generator=torch.Generator().manual_seed(0)) * 4
    logits[:, ::2] = -torch.inf
    logits[:, 50_000:] = -torch.inf
    for uniform in (0.0, 0.5, 1 - 2**-53):
        tokens, logprobs = draw(logits, torch.full((4,), uniform, dtype=torch.float64))
        assert (tokens % 2 == 1).all()
        assert (tokens < 50_000).all()
        assert logprobs.isfinite().all()


@pytest.mark.parametrize("vocabulary", [5, 256, 257, 5000])
def test_blocks_change_nothing(vocabulary: int) -> None:
    """Against the CDF of the whole vocabulary in float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, vocabulary, generator=generator) * 3
    uniform = torch.rand(500, dtype=torch.float64, generator=generator)
    tokens, logprobs = draw(logits, uniform)
    fresh = logits.double().log_softmax(-1)
    cdf = fresh.exp().cumsum(-1)
    expected = (cdf <= uniform[:, None]).sum(-1)
    differs = (tokens != expected).nonzero().squeeze(-1)
    # fp32 probabilities move a boundary by 1e-7.
    assert ((cdf[differs] - uniform[differs, None]).abs().amin(-1) < 1e-6).all() and len(differs) <= 1
    torch.testing.assert_close(logprobs.double(), fresh.gather(-1, tokens[:, None]).squeeze(-1), atol=1e-5, rtol=0)


def test_a_model_that_has_become_nan_is_seen_in_its_logprobs() -> None:
    for logits in (torch.full((2, 300), torch.nan), torch.full((2, 300), -torch.inf)):
        tokens, logprobs = draw(logits, torch.tensor([0.0, 0.9], dtype=torch.float64))
        assert (tokens < 300).all() and logprobs.isnan().all()
