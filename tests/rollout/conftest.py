"""Tiny random policies of three architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from rlhf.models.language import LanguageModel

EOS, VOCAB = 2, 13
LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": None,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
    | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
    "llama": {"model_type": "llama", **LLAMA},
    "qwen2": {"model_type": "qwen2", **LLAMA},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_policy() -> Callable[..., LanguageModel]:
    def make(name: str, seed: int = 0) -> LanguageModel:
        import transformers

        torch.manual_seed(seed)
        config = transformers.AutoConfig.for_model(
            **{**ARCHITECTURES[name], "vocab_size": VOCAB, "eos_token_id": EOS, "bos_token_id": None}
        )
        return LanguageModel(transformers.AutoModelForCausalLM.from_config(config)).train()

    return make


@pytest.fixture(params=ARCHITECTURES)
def policy(request: pytest.FixtureRequest, make_policy: Callable[..., LanguageModel]) -> LanguageModel:
    return make_policy(request.param)
