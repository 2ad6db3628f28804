"""Tiny random models, and answers without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from chat_server import ChatServer

from rlhf.data.rows import Row
from rlhf.evaluation.answers import Answer
from rlhf.models.language import LanguageModel, freeze

EOS, VOCAB = 2, 13


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are fastest so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_policy() -> Callable[[int], LanguageModel]:
    """A frozen random policy of 13 tokens."""
    import transformers

    def make(seed: int) -> LanguageModel:
        torch.manual_seed(seed)
        config = transformers.AutoConfig.for_model(
            "gpt2", vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2
        )
        policy = LanguageModel(transformers.AutoModelForCausalLM.from_config(config))
        freeze(policy)
        return policy

    return make


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    """An answer with this text, of so many tokens."""

    def make(text: str, tokens: int = 3, logprob: float = -1.0, finished: bool = True) -> Answer:
        return Answer(text, Row((1,), (tuple(range(3, 3 + tokens)),)), logprob, finished)

    return make


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A chat endpoint, reached past any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = ChatServer()
    yield found
    found.close()
