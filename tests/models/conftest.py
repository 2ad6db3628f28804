"""Tiny random models of three architectures, with weights large enough that attention and position matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    # Outside of the vocabularies used here unless a test says otherwise.
    "pad_token_id": None,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "initializer_range": 0.2,
    },
    "llama": {"model_type": "llama", **LLAMA},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True, **LLAMA},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are fastest so, and two runs of a test add up numbers in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(ARCHITECTURES[request.param])


@pytest.fixture
def architectures() -> dict[str, dict[str, Any]]:
    return {name: dict(options) for name, options in ARCHITECTURES.items()}


@pytest.fixture
def make_hf() -> Callable[..., Any]:
    """A model of `transformers`, as it makes it itself, without dropout."""
    import transformers

    def make(kind: str, architecture: dict[str, Any], seed: int = 0, **options: Any) -> Any:
        auto = {
            "causal": transformers.AutoModelForCausalLM,
            "score": transformers.AutoModelForSequenceClassification,
        }[kind]
        labels = {"num_labels": 1} if kind == "score" else {}
        if architecture["model_type"] == "gpt2":
            options = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, **options}
        torch.manual_seed(seed)
        config = transformers.AutoConfig.for_model(**{"vocab_size": 53, **architecture, **labels, **options})
        return auto.from_config(config).eval()

    return make
