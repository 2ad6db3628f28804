from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ParentError
from rlhf.models import logits
from rlhf.models.files.loading import load_policy
from rlhf.models.logits import head_is_exact, head_of

TINY = load_tokenizer("tiny")
CHANGED = {
    "granite": {"logits_scaling": 4.0},
    "cohere": {"logit_scale": 0.25},
    "gemma2": {"final_logit_softcapping": 3.0, "head_dim": 8},
}


@pytest.mark.parametrize("kind", CHANGED)
def test_logits_that_are_scaled_or_capped(kind: str, architectures: dict[str, Any]) -> None:
    policy = load_policy(None, architectures["llama"] | {"model_type": kind} | CHANGED[kind], TINY, seed=1).eval()
    ids = torch.arange(5, 12)[None]
    with torch.no_grad():
        own = policy.hf(input_ids=ids, use_cache=False).logits
        states = policy.hf.base_model(input_ids=ids, use_cache=False).last_hidden_state
        torch.testing.assert_close(policy.head(states), own, atol=1e-5, rtol=1e-5)
        assert (policy.hf.get_output_embeddings()(states) - own).abs().max() > 0.1


def test_logits_that_are_changed_in_an_unknown_way(
    architectures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "DIVISORS", ())
    with pytest.raises(ParentError, match=r"^model\.init=random: architecture granite is not supported because"):
        load_policy(None, architectures["llama"] | {"model_type": "granite", "logits_scaling": 4.0}, TINY, seed=1)


def test_a_cap_shows_in_the_small_logits_of_a_random_model(
    make_hf: Callable[..., Any], architectures: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gemma = make_hf("causal", architectures["llama"] | {"model_type": "gemma2", "initializer_range": 0.001})
    assert head_is_exact(gemma)
    monkeypatch.setattr(logits, "CAPS", ())
    assert not head_is_exact(gemma)
    assert head_of(gemma) is gemma.get_output_embeddings()
