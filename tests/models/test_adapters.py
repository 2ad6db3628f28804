from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.families.configurations import architecture as tiny_architecture
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import ConfigError, ParentError
from rlhf.models.adapters import Lora, add_lora, load_adapter, merged_weights, save_adapter, share
from rlhf.models.files.export import export, export_adapter
from rlhf.models.files.loading import load_policy, load_scorer, scorer_on
from rlhf.models.language import LanguageModel, ScoreModel
from rlhf.models.parallel.offload import recompute_activations
from tests.models.tiny_families import FEW

LORA = Lora(r=4, alpha=12.0)
ROWS = [Row((1, 2, 3), ((4, 5, 6, 7, 8), (9,))), Row((11,), ((12, 13), (14, 15, 16), (17,))), Row((20, 21), ((22,),))]
KINDS = ("causal", "score")


def spread(hf: Any, seed: int = 5) -> None:
    """Give adapters an effect: B is born as 0."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)


def says(model: LanguageModel | ScoreModel) -> Tensor:
    found: Any = model(collate(ROWS))
    return found if isinstance(model, ScoreModel) else found.logprobs


def trained(hf: Any) -> set[str]:
    return {name for name, parameter in hf.named_parameters() if parameter.requires_grad}


@pytest.fixture
def tokenizer() -> Tokenizer:
    return load_tokenizer("tiny")


def load(kind: str, source: str | None, architecture: dict[str, Any], tokenizer: Tokenizer, seed: int = 1) -> Any:
    return {"causal": load_policy, "score": load_scorer}[kind](source, architecture, tokenizer, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_it_was_and_only_adapters_and_heads_learn(
    kind: str, make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    hf = make_hf(kind, architecture)
    model = LanguageModel(hf, value_head=True) if kind == "causal" else ScoreModel(hf)
    before = says(model)
    add_lora(hf, LORA, seed=0)
    assert torch.equal(says(model), before)
    names = trained(hf)
    assert all(".lora_" in name or name == "score.weight" for name in names)
    assert ("score.weight" in names) == (kind == "score")
    layers = {name for name, module in hf.base_model.named_modules() if hasattr(module, "lora_A")}
    assert len(layers) == (8 if architecture["model_type"] == "gpt2" else 14)
    says(model).sum().backward()
    moved = {name for name, p in hf.named_parameters() if p.grad is not None}
    assert moved == names
    if isinstance(model, LanguageModel) and model.value_head is not None:
        assert model.value_head.weight.requires_grad


def test_the_seed_decides(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    def drawn(seed: int) -> Tensor:
        hf = make_hf("causal", architecture)
        state = torch.get_rng_state()
        add_lora(hf, LORA, seed)
        assert torch.equal(torch.get_rng_state(), state)
        return torch.cat([p.flatten() for name, p in hf.named_parameters() if ".lora_A." in name])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_layers_by_name(make_hf: Callable[..., Any], architectures: dict[str, Any]) -> None:
    hf = make_hf("causal", architectures["llama"])
    add_lora(hf, Lora(targets=("q_proj", "layers.1.mlp.up_proj")), seed=0)
    layers = {name for name, module in hf.base_model.named_modules() if hasattr(module, "lora_A")}
    assert layers == {"layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "layers.1.mlp.up_proj"}
    with pytest.raises(ConfigError, match=r"model.lora_targets: c_atn is not .* of a gpt2; .*did you mean c_attn\?"):
        add_lora(make_hf("causal", architectures["gpt2"]), Lora(targets=("c_atn",)), seed=0)


@pytest.mark.parametrize(("family", "router"), [("phimoe", True), ("llama4_text", True), ("falcon", False)])
def test_routers_that_return_choices_get_no_adapter(family: str, router: bool) -> None:
    model = load_policy(None, tiny_architecture(family), FEW, seed=1)
    routers = {name for name in dict(model.hf.base_model.named_modules()) if name.rpartition(".")[2] == "router"}
    if router:
        with pytest.raises(ConfigError, match=r"model.lora_targets: router .* of a "):
            add_lora(model.hf, Lora(targets=("router",)), seed=0)
    before = says(model)
    add_lora(model.hf, LORA, seed=0)
    layers = {name for name, module in model.hf.base_model.named_modules() if hasattr(module, "lora_A")}
    assert bool(routers) == router
    assert layers
    assert not layers & routers
    torch.testing.assert_close(says(model), before, atol=0, rtol=0)
    spread(model.hf)
    says(model).sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if ".lora_" in name)


@pytest.mark.parametrize("kind", KINDS)
def test_exports_load_in_transformers_and_adapters_in_peft(
    kind: str, architecture: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto: Any = {"causal": AutoModelForCausalLM, "score": AutoModelForSequenceClassification}[kind]
    model = load(kind, None, architecture, tokenizer)
    export(model, tokenizer, tmp_path / "base")
    add_lora(model.hf, LORA, seed=0)
    spread(model.hf)
    names = {name: p.clone() for name, p in model.hf.named_parameters()}
    export(model, tokenizer, tmp_path / "model")
    export_adapter(model, str(tmp_path / "base"), tmp_path / "adapter")
    assert all(torch.equal(names[name], p) for name, p in model.hf.named_parameters())

    expected = says(model)
    merged = load(kind, str(tmp_path / "model"), {}, tokenizer)
    assert not any(".lora_" in name for name, _ in merged.hf.named_parameters())
    torch.testing.assert_close(says(merged), expected, atol=1e-4, rtol=0)
    ids = torch.tensor([ROWS[0].prompt + ROWS[0].responses[0]])
    model.hf.eval()
    with torch.no_grad():
        own = model.hf(input_ids=ids).logits
        theirs = auto.from_pretrained(tmp_path / "model")(input_ids=ids).logits
        torch.testing.assert_close(theirs, own, atol=1e-4, rtol=1e-4)
        base = auto.from_pretrained(tmp_path / "base")
        assert (base(input_ids=ids).logits - own).abs().max() > 0.05
        theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(input_ids=ids).logits
        torch.testing.assert_close(theirs, own, atol=1e-4, rtol=1e-4)


def test_plain_weights_are_merged_weights_too(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    """What vLLM is given: every parameter by every name, of the values that are there."""
    hf = make_hf("causal", architecture)
    expected = dict(hf.named_parameters(remove_duplicate=False))
    found = dict(merged_weights(hf))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    add_lora(hf, LORA, seed=0)
    merged = dict(merged_weights(hf))
    assert merged.keys() == expected.keys()
    assert all(torch.equal(found[name], merged[name]) for name in found)  # B is 0
    spread(hf)
    state = {name: weight.clone() for name, weight in hf.state_dict().items()}
    gathered = dict(merged_weights(hf, state))
    merged = dict(merged_weights(hf))
    assert all(torch.equal(gathered[name], merged[name]) for name in found)
    assert sum(not torch.equal(found[name], merged[name]) for name in found) >= 8


def test_integers_are_no_weights(make_hf: Callable[..., Any], architecture: dict[str, Any]) -> None:
    """Buffers of an architecture's own, beside a weight and where there is none."""
    hf = make_hf("causal", architecture)
    buffers = {"lm_head": "steps", hf.base_model_prefix: "table"}
    for module, name in buffers.items():
        hf.get_submodule(module).register_buffer(name, torch.arange(5))
    add_lora(hf, LORA, seed=0)
    found = dict(merged_weights(hf))
    for module, name in buffers.items():
        assert (
            torch.equal(found[f"{module}.{name}"], torch.arange(5))
            and not found[f"{module}.{name}"].is_floating_point()
        )


def test_models_share_a_backbone_and_nothing_else(architecture: dict[str, Any], tokenizer: Tokenizer) -> None:
    policy = load_policy(None, architecture, tokenizer, seed=1)
    before = says(policy)
    reference = LanguageModel(share(policy.hf))
    other = LanguageModel(share(policy.hf))
    add_lora(policy.hf, LORA, seed=0)
    add_lora(other.hf, LORA, seed=1)
    spread(policy.hf, 1)
    spread(other.hf, 2)
    assert torch.equal(says(reference), before)
    assert not torch.allclose(says(policy), says(other), atol=1e-2)
    backbone = {p.data_ptr() for p in reference.parameters()}
    for model in (policy, other):
        own = {p.data_ptr() for name, p in model.named_parameters() if ".lora_" in name}
        assert {p.data_ptr() for p in model.parameters()} == backbone | own
        assert not own & backbone


def test_a_reward_model_on_the_policys_backbone_says_what_it_says_alone(
    architecture: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    policy = load_policy(None, architecture, tokenizer, seed=1)
    export(policy, tokenizer, tmp_path / "sft")
    alone = load_scorer(str(tmp_path / "sft"), {}, tokenizer, seed=3)
    add_lora(alone.hf, LORA, seed=0)
    spread(alone.hf)
    alone.reward_mean = 0.7
    export(alone, tokenizer, tmp_path / "rm")
    export_adapter(alone, "sft", tmp_path / "adapter")
    reward = scorer_on(policy, str(tmp_path / "rm"))
    load_adapter(reward.hf, tmp_path / "adapter")
    torch.testing.assert_close(says(reward), says(alone), atol=1e-5, rtol=0)
    critic = ScoreModel(share(reward.hf))
    assert torch.equal(says(critic), says(reward))
    backbone = {p.data_ptr() for p in policy.parameters()}
    for model in (reward, critic):
        assert {p.data_ptr() for n, p in model.named_parameters() if n.startswith("hf.") and ".lora_" not in n} <= (
            backbone | {model.hf.score.weight.data_ptr()}
        )
    assert reward.hf.score.weight.data_ptr() != critic.hf.score.weight.data_ptr()


def test_an_adapter_of_another_model_is_refused(
    make_hf: Callable[..., Any], architectures: dict[str, Any], tmp_path: Path
) -> None:
    hf = make_hf("causal", architectures["gpt2"])
    add_lora(hf, LORA, seed=0)
    save_adapter(hf, tmp_path, "base")
    with pytest.raises(ParentError, match="the adapter does not fit a gpt2"):
        load_adapter(make_hf("causal", architectures["gpt2"] | {"n_layer": 1}), tmp_path)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_what_else_is_in_the_batch_does_not_matter(
    side_by_side: bool, make_hf: Callable[..., Any], architecture: dict[str, Any]
) -> None:
    """Trees, and recomputation in the backward pass, with adapters inside: each row is what it is alone."""
    model = LanguageModel(make_hf("causal", architecture)).train()
    add_lora(model.hf, LORA, seed=0)
    spread(model.hf)
    recompute_activations(model.hf)
    rows = [Row(row.prompt, row.responses, index=i) for i, row in enumerate(ROWS)] if side_by_side else ROWS[:1]
    together: Any = model(collate(rows)).logprobs
    alone = torch.cat([model(collate([row])).logprobs for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    together.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.hf.gradient_checkpointing_disable()
    alone = torch.cat([model(collate([row])).logprobs for row in rows])
    alone.sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-4)
    assert gradients and isinstance(model, nn.Module)
