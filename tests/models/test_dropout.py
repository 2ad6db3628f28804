"""Chance that architectures keep in places of their own is switched off too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.families.configurations import ROWS, architecture
from rlhf.data.batch import collate
from rlhf.errors import ParentError
from rlhf.models.dropout import dropout_off
from rlhf.models.files import loading
from rlhf.models.files.loading import load_policy, load_scorer
from tests.models.tiny_families import FEW

RATES: dict[str, dict[str, float]] = {
    "opt": {"dropout": 0.3, "layerdrop": 0.5, "attention_dropout": 0.3},
    "biogpt": {
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.3,
        "layerdrop": 0.5,
        "activation_dropout": 0.3,
    },
    "starcoder2": {"residual_dropout": 0.3, "embedding_dropout": 0.3, "attention_dropout": 0.3},
    "gpt_bigcode": {"attn_pdrop": 0.3, "resid_pdrop": 0.3, "embd_pdrop": 0.3},
    "mixtral": {"router_jitter_noise": 0.3, "attention_dropout": 0.3},
    "phimoe": {"input_jitter_noise": 0.3},
}


@pytest.mark.parametrize("family", RATES)
def test_three_passes_in_training_mode_agree_to_the_bit(family: str) -> None:
    scorer = load_scorer(None, architecture(family) | RATES[family], FEW, seed=0).train()
    first, second, third = (scorer(collate(ROWS)) for _ in range(3))
    assert torch.equal(first, second) and torch.equal(first, third)
    torch.testing.assert_close(scorer.eval()(collate(ROWS)), first)


def test_rates_of_a_loaded_model(tmp_path: Any) -> None:
    hf = load_policy(None, architecture("opt"), FEW, seed=0).hf
    hf.config.layerdrop = hf.config.dropout = 0.5
    hf.save_pretrained(tmp_path)
    policy = load_policy(str(tmp_path), {}, FEW, seed=0).train()
    assert torch.equal(policy(collate(ROWS)).logprobs, policy(collate(ROWS)).logprobs)
    assert policy.hf.config.layerdrop == 0


def test_rates_of_configurations_within_configurations() -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model("gemma3")
    config.text_config.attention_dropout = config.vision_config.attention_dropout = 0.1
    dropout_off(config)
    assert config.text_config.attention_dropout == config.vision_config.attention_dropout == 0


def test_chance_that_is_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "dropout_off", lambda config: config)
    monkeypatch.setattr(loading, "without_dropout", lambda hf: hf)
    with pytest.raises(ParentError, match=r"architecture opt is not supported because two passes .* differ"):
        load_policy(None, architecture("opt") | {"dropout": 0.3}, FEW, seed=0)
