"""A folder with an adapter and no weights is the model that peft makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.tokenizers import load_tokenizer
from rlhf.errors import ParentError
from rlhf.models.export import export
from rlhf.models.loading import load_policy, load_scorer
from rlhf.runs.parents import export_config, from_given

SIZES = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2}
IDS = torch.arange(10)[None]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`base`, and `policy` and `score`: adapters on it with random weights, without a tokenizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    tokenizer = load_tokenizer("tiny")
    export(load_policy(None, SIZES, tokenizer, seed=1), tokenizer, tmp_path / "base")
    for name, auto, task in (
        ("policy", AutoModelForCausalLM, "CAUSAL_LM"),
        ("score", AutoModelForSequenceClassification, "SEQ_CLS"),
    ):
        torch.manual_seed(2)
        more = {"num_labels": 1} if name == "score" else {}
        config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type=task)
        get_peft_model(auto.from_pretrained(tmp_path / "base", **more), config).save_pretrained(tmp_path / name)
    return tmp_path


@torch.no_grad()
def test_a_policy_is_its_base_with_the_adapter(folders: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    parent = from_given("model.init", str(folders / "policy"))
    assert parent.source == str(folders / "policy") and "base" in parent.reason
    tokenizer = load_tokenizer("auto", parent.source)
    assert tokenizer.fingerprint == load_tokenizer("tiny").fingerprint, "the base's own"
    policy = load_policy(parent.source, {}, tokenizer, seed=0)
    theirs = AutoPeftModelForCausalLM.from_pretrained(folders / "policy").eval()
    ours = policy.hf(input_ids=IDS).logits
    torch.testing.assert_close(ours, theirs(input_ids=IDS).logits, atol=1e-5, rtol=1e-5)
    plain = load_policy(str(folders / "base"), {}, tokenizer, seed=0).hf(input_ids=IDS).logits
    assert (ours - plain).abs().max() > 0.01
    assert export_config(parent)["hidden_size"] == 16
    assert parent.sha256 != from_given("model.init", str(folders / "base")).sha256


@torch.no_grad()
def test_a_reward_models_head_lies_beside_its_adapter(folders: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    tokenizer = load_tokenizer("tiny")
    scorer = load_scorer(str(folders / "score"), {}, tokenizer, seed=0, new_head=False)
    theirs: Any = AutoPeftModelForSequenceClassification.from_pretrained(folders / "score", num_labels=1).eval()
    head = theirs.base_model.model.score.modules_to_save["default"].weight
    torch.testing.assert_close(scorer.hf.score.weight, head)
    with pytest.raises(ParentError, match="without a reward head"):
        load_scorer(str(folders / "policy"), {}, tokenizer, seed=0, new_head=False)


def test_the_same_base_with_another_adapter_is_another_model(folders: Path) -> None:
    one, two = (from_given("model.init", str(folders / name), reward=True) for name in ("policy", "score"))
    assert one.sha256 != two.sha256


@pytest.mark.parametrize("base", ["/nowhere/at/all", "../x", None, ""])
def test_a_base_that_is_not_there_is_named(folders: Path, base: str | None) -> None:
    import json

    path = folders / "policy" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))
    with pytest.raises(ParentError, match=r"policy.* adapter"):
        from_given("model.init", str(folders / "policy"))


def test_an_adapter_of_other_sizes_is_refused(folders: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    export(load_policy(None, {**SIZES, "hidden_size": 32}, tokenizer, seed=1), tokenizer, folders / "base")
    with pytest.raises(ParentError, match=r"policy: the adapter could not be merged"):
        load_policy(str(folders / "policy"), {}, tokenizer, seed=0)
