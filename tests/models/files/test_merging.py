"""A folder with an adapter and no weights is the model that peft makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.records import Prompt
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ConfigError, ParentError
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.runs.parents import export_config, from_given, is_reward_model
from rlhf.runs.resolve import resolve_reward_model, resolve_scorer

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


def test_an_adapter_with_a_head_is_a_reward_model_wherever_one_is_asked_for(folders: Path) -> None:
    """Its base is a language model: `config.json` alone would say that it is none."""
    policy = from_given("model.init", str(folders / "policy"))
    score = str(folders / "score")
    assert not is_reward_model(policy)
    config = {"algo": {"reward_model": score}, "model": {"name": "tiny"}}
    assert resolve_reward_model(config, policy, folders).source == score
    found = resolve_scorer("evaluation.reward_model", score, policy, folders)
    assert found is not None and is_reward_model(found)
    with pytest.raises(ParentError, match=r"model\.init: .*score is a reward model"):
        from_given("model.init", score)
    for other in ("policy", "base"):
        with pytest.raises(ParentError, match=f"algo.reward_model: .*{other} is not a reward model"):
            resolve_reward_model(config | {"algo": {"reward_model": str(folders / other)}}, policy, folders)


@torch.no_grad()
def test_an_adapter_scores_for_ppo_and_for_judges_what_peft_scores(folders: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    from rlhf.evaluation.judges.reward_models import reward_judge
    from verbs.train.adapters import check_same_tokenizer

    score, prompt, answer = folders / "score", Prompt((("user", "What is 2 + 2?"),)), "It is 4."
    tokenizer = load_tokenizer("tiny")
    check_same_tokenizer("algo.reward_model", score, tokenizer)
    judge = reward_judge("evaluation.reward_model", str(score), 64)
    (mark,) = judge([prompt], [answer])
    template = judge.template
    ids = torch.tensor([[*template.prompt(prompt).ids, *template.response(answer)]])
    theirs: Any = AutoPeftModelForSequenceClassification.from_pretrained(score, num_labels=1).eval()
    theirs.config.pad_token_id = theirs.base_model.model.config.pad_token_id = 0
    assert mark is not None
    assert mark.score == pytest.approx(float(theirs(input_ids=ids).logits), abs=1e-4)


def test_a_tokenizer_beside_an_adapter_is_the_one_that_counts(folders: Path) -> None:
    from verbs.train.adapters import check_same_tokenizer

    load_tokenizer("gpt2").save(folders / "score")
    with pytest.raises(ParentError, match=r"algo\.reward_model: the tokenizer .*score differs"):
        check_same_tokenizer("algo.reward_model", folders / "score", load_tokenizer("tiny"))


def test_an_adapter_is_not_merged_into_quantised_weights(folders: Path) -> None:
    for bits in ("4bit", "8bit"):
        with pytest.raises(ConfigError, match=f"model.quantize: {bits} .*policy"):
            load_policy(str(folders / "policy"), {}, load_tokenizer("tiny"), seed=0, quantize=bits)
