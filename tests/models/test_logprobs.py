from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.models import logprobs as logprobs_module
from rlhf.models.language import LanguageModel
from rlhf.models.logprobs import chosen_logprobs
from rlhf.models.parallel.offload import recompute_activations

VOCAB = 53


def random_rows(draw: random.Random, count: int) -> list[Row]:
    def tokens(most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(VOCAB) for _ in range(draw.randint(1, most)))

    return [Row(tokens(9), tuple(tokens(7) for _ in range(draw.randint(1, 4))), index=i) for i in range(count)]


def full_forward(hf: Any, row: Row, temperature: float = 1.0) -> Tensor:
    """What the model of `transformers` says of each response on its own, with nothing else in the batch."""
    found = []
    for response in row.responses:
        logits = hf(input_ids=torch.tensor([row.prompt + response])).logits[0].float() / temperature
        said = logits.log_softmax(-1)[len(row.prompt) - 1 : -1]
        found.append(said.gather(-1, torch.tensor(response)[:, None]).squeeze(-1))
    return torch.cat(found)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_padding_sharing_and_neighbours_change_nothing(
    make_hf: Callable[..., Any], architecture: dict[str, Any], temperature: float
) -> None:
    hf = make_hf("causal", architecture)
    model = LanguageModel(hf)
    for seed in range(5):
        rows = random_rows(random.Random(seed), 6)
        ours = model(collate(rows, pad_id=seed), temperature=temperature).logprobs
        expected = torch.cat([full_forward(hf, row, temperature) for row in rows])
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
        apart = [Row(row.prompt, (response,)) for row in rows for response in row.responses]
        separate = model(collate(apart), temperature=temperature).logprobs
        torch.testing.assert_close(ours, separate, atol=1e-4, rtol=0)
    assert expected.std() > 0.3, "a model that says the same of every token would pass any comparison"


def test_gradients_do_not_depend_on_sharing(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    model = LanguageModel(make_hf("causal", architecture))
    rows = random_rows(random.Random(11), 5)
    apart = [Row(row.prompt, (response,)) for row in rows for response in row.responses]
    torch.testing.assert_close(gradients(model, rows), gradients(model, apart), atol=1e-4, rtol=1e-4)


def gradients(model: LanguageModel, rows: list[Row]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    stats: Any = model(collate(rows))
    stats.logprobs.sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_no_gradient(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    model = LanguageModel(make_hf("causal", architecture)).train()
    rows = random_rows(random.Random(3), 5)
    plain = gradients(model, rows)
    norm = next(m for name, m in model.named_modules() if name.endswith(("ln_1", "input_layernorm")))
    calls: list[int] = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    recompute_activations(model.hf)
    torch.testing.assert_close(gradients(model, rows), plain, atol=1e-5, rtol=1e-5)
    assert len(calls) == 2, "the block was not computed again, so nothing was checkpointed"


def some(n: int) -> tuple[Tensor, Tensor, nn.Linear, tuple[Tensor, nn.Linear]]:
    torch.manual_seed(n)
    hidden = torch.randn(n, 8, requires_grad=True)
    tokens = torch.randint(VOCAB, (n,))
    return hidden, tokens, nn.Linear(8, VOCAB), (torch.randn(n, 8), nn.Linear(8, VOCAB))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 10])
def test_chunks_change_neither_numbers_nor_gradients(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, tokens, head, reference = some(n)
    found = []
    heads: list[int] = []
    head.register_forward_hook(lambda _, inputs, __: heads.append(len(inputs[0])))
    for size in (512, 3):
        monkeypatch.setattr(logprobs_module, "CHUNK", size)
        hidden.grad = head.weight.grad = None
        stats = chosen_logprobs(hidden, tokens, head, temperature=0.8, want_entropy=True, reference=reference)
        assert stats.entropy is not None
        assert stats.kl is not None
        (stats.logprobs.sum() + 2 * stats.entropy.sum() - stats.kl.square().sum()).backward()
        found.append((stats.logprobs, stats.entropy, stats.kl, hidden.grad, head.weight.grad))
    for whole, chunked in zip(*found, strict=True):
        assert whole is not None
        torch.testing.assert_close(whole, chunked, atol=1e-5, rtol=1e-5)
    assert max(heads[1:], default=0) <= 3, "more logits existed at once than a chunk has"


def test_entropy_and_full_kl_are_their_definitions() -> None:
    hidden, tokens, head, reference = some(10)
    stats = chosen_logprobs(hidden, tokens, head, temperature=0.8, want_entropy=True, reference=reference)
    p = (head(hidden) / 0.8).softmax(-1)
    q = (reference[1](reference[0]) / 0.8).softmax(-1)
    torch.testing.assert_close(stats.logprobs, p.log()[torch.arange(10), tokens])
    torch.testing.assert_close(stats.entropy, -(p * p.log()).sum(-1))
    torch.testing.assert_close(stats.kl, (p * (p / q).log()).sum(-1))


def test_log_squares_are_their_definition_and_carry_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs_module, "CHUNK", 2)
    head = nn.Linear(4, 6)
    hidden, tokens = torch.randn(5, 4, requires_grad=True), torch.randint(6, (5,))
    stats = chosen_logprobs(hidden, tokens, head, temperature=0.7, want_log_squares=True)
    assert stats.log_squares is not None and not stats.log_squares.requires_grad
    expected = (head(hidden) / 0.7).softmax(-1).square().sum(-1).log()
    torch.testing.assert_close(stats.log_squares, expected.detach())


def test_only_what_is_asked_for_is_computed() -> None:
    hidden, tokens, head, _ = some(4)
    stats = chosen_logprobs(hidden, tokens, head)
    assert (stats.entropy, stats.kl, stats.values) == (None, None, None)


def test_kl_pulls_the_policy_alone() -> None:
    hidden, tokens, head, (other, other_head) = some(5)
    other.requires_grad_(True)
    stats = chosen_logprobs(hidden, tokens, head, reference=(other, other_head))
    assert stats.kl is not None
    stats.kl.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() > 0
    assert other.grad is None
    assert other_head.weight.grad is None


@torch.no_grad()
def test_a_window_shorter_than_a_tree(make_hf: Callable[..., Any], architectures: dict[str, dict[str, Any]]) -> None:
    hf = make_hf("causal", architectures["llama"] | {"model_type": "mistral", "sliding_window": 8})
    model = LanguageModel(hf)
    for row in (Row((1, 2, 3), ((4, 5), (6, 7, 8))), Row(tuple(range(1, 8)), ((4, 5, 6, 9, 9), (6, 7, 8)))):
        torch.testing.assert_close(model(collate([row])).logprobs, full_forward(hf, row), atol=1e-4, rtol=0)
