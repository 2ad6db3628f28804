from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, ScoreModel, count_parameters, freeze, scalars

PAD = 52
ROWS = [Row((1, 2, 3), ((4, 5, 6, 7, 8), (9,))), Row((11,), ((12, 13), (14, 15, 16), (17,))), Row((20, 21), ((22,),))]


@torch.no_grad()
def test_scores_equal_the_classifier_on_padded_batches(
    make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    hf = make_hf("score", architecture, pad_token_id=PAD)
    model = ScoreModel(hf)
    model.reward_mean = 0.25
    texts = [row.prompt + response for row in ROWS for response in row.responses]
    longest = max(map(len, texts))
    ids = torch.tensor([text + (PAD,) * (longest - len(text)) for text in texts])
    theirs = hf(input_ids=ids, attention_mask=(ids != PAD).long()).logits.squeeze(-1)
    torch.testing.assert_close(model(collate(ROWS)), theirs - 0.25, atol=1e-4, rtol=0)
    assert theirs.std() > 0.1


@torch.no_grad()
def test_values_stand_at_the_states_that_chose_the_tokens(
    make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    hf = make_hf("score", architecture, pad_token_id=PAD)
    model = ScoreModel(hf)
    expected = []
    for row in ROWS:
        for response in row.responses:
            ids = torch.tensor([row.prompt + response])
            values = hf.score(hf.base_model(input_ids=ids).last_hidden_state)[0, :, 0]
            expected.append(values[len(row.prompt) - 1 : -1])
    batch = collate(ROWS)
    torch.testing.assert_close(model(batch, at="sources"), torch.cat(expected), atol=1e-4, rtol=0)
    model.reward_mean = -2.0
    torch.testing.assert_close(model(batch, at="sources"), torch.cat(expected) + 2.0, atol=1e-4, rtol=0)


def test_reward_mean_is_0_until_it_is_set(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    model = ScoreModel(make_hf("score", architecture))
    assert model.reward_mean == 0.0
    model.reward_mean = 1.5
    assert model.hf.config.reward_mean == 1.5


def test_a_value_head_starts_at_0_and_reads_the_trunk(
    make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    model = LanguageModel(make_hf("causal", architecture), value_head=True)
    stats: Any = model(collate(ROWS))
    assert stats.values.shape == stats.logprobs.shape
    assert stats.values.abs().max() == 0
    assert model.value_head is not None
    torch.nn.init.ones_(model.value_head.weight)
    states = model.target_states(collate(ROWS))
    after: Any = model(collate(ROWS))
    torch.testing.assert_close(after.values, states.sum(-1))


def test_frozen_models_neither_learn_nor_drop_out(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    model = freeze(LanguageModel(make_hf("causal", architecture)).train())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_tied_weights_count_once(make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]) -> None:
    tied = count_parameters(make_hf("causal", architectures["llama"], tie_word_embeddings=True))
    untied = count_parameters(make_hf("causal", architectures["llama"]))
    assert untied - tied == 53 * 32


def test_where_to_read_scores_must_be_known(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        ScoreModel(make_hf("score", architecture))(collate(ROWS), at="start")


@torch.no_grad()
def test_scores_and_values_are_fp32_in_any_precision(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    """In bf16 numbers around -7 are 0.03 apart: 200 scores would be a dozen. Heads in bf16 are widened as well."""
    states = torch.randn(200, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    head = torch.nn.Linear(32, 1)
    head.weight.mul_(0.1)
    head.bias.fill_(-7)
    for dtype in (torch.float32, torch.bfloat16):
        head.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = scalars(head, states)
        exact = states.double() @ head.weight[0].double() + head.bias.double()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)
    model = ScoreModel(make_hf("score", architecture))
    shared = LanguageModel(make_hf("causal", architecture), value_head=True)
    assert shared.value_head is not None
    shared.value_head.weight.normal_(generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stats: Any = shared(collate(ROWS))
        for found in (model(collate(ROWS)), model(collate(ROWS), at="sources"), stats.values):
            assert found.dtype == torch.float32
            assert (found != found.bfloat16().float()).any()
