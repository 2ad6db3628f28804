from __future__ import annotations

import pytest
from transformers import GPT2Config, LlamaConfig

from rlhf.errors import ParentError
from rlhf.models.sizes import check_sizes


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LlamaConfig(), None),
        (GPT2Config(), None),
        (GPT2Config(n_layer=10**9), "num_hidden_layers"),
        (LlamaConfig(intermediate_size=10**9), "intermediate_size"),
        (GPT2Config(vocab_size=10**12), "vocab_size"),
    ],
)
def test_sizes_that_no_model_has_are_named(config: object, name: str | None) -> None:
    if name is None:
        check_sizes(config, "model.init=x")
        return
    with pytest.raises(ParentError, match=f"model.init=x: .*{name}"):
        check_sizes(config, "model.init=x")
