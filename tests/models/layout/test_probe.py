"""Every layout gives what plain passes of each response give, whatever the architecture mixes tokens with."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch

from benchmarks.families.configurations import ROWS, VOCABULARY, architecture
from benchmarks.families.plain import plain_logprobs
from rlhf.data.batch import collate
from rlhf.errors import ParentError
from rlhf.models.adapters import Lora, add_lora, share
from rlhf.models.architectures import skeleton
from rlhf.models.files.loading import load_policy, load_scorer, scorer_on
from rlhf.models.language import LanguageModel
from rlhf.models.layout import probe
from rlhf.models.layout.layouts import layout_of
from tests.models.tiny_families import FEW, louder

LAYOUTS = {
    "llama": "tree",
    "mistral": "tree",  # a sliding window, given to attention
    "opt": "tree",
    "phimoe": "padded",
    "stablelm": "padded",  # reads the mask by itself
    "bloom": "padded",  # takes no position ids
    "jamba": "padded",  # Mamba and attention
    "lfm2": "padded",  # convolutions and attention
    "qwen3_next": "padded",  # linear attention
    "mamba": "padded",
}


@pytest.mark.parametrize("family", LAYOUTS)
def test_logprobs_and_gradients_equal_plain_passes(family: str) -> None:
    model = load_policy(None, architecture(family), FEW, seed=0)
    louder(model.hf)
    assert layout_of(model.hf) == LAYOUTS[family]
    ours = model(collate(ROWS)).logprobs
    ours.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.hf.named_parameters() if p.grad is not None}
    model.zero_grad()
    if model.hf._can_set_attn_implementation():
        model.hf.set_attn_implementation("eager")
    theirs = plain_logprobs(model.hf, ROWS)
    theirs.sum().backward()
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert theirs.std() > 0.1
    for name, parameter in model.hf.named_parameters():
        if parameter.grad is not None:
            largest = float(parameter.grad.abs().max())
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4 * largest + 1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("family", LAYOUTS)
def test_plans_know_the_layout(family: str) -> None:
    with torch.device("meta"):
        guess = layout_of(skeleton("causal", None, architecture(family), VOCABULARY))
    assert guess == LAYOUTS[family]


@pytest.mark.parametrize("family", ["jamba", "stablelm"])
def test_scores_and_values_equal_plain_passes(family: str) -> None:
    model = load_scorer(None, architecture(family), FEW, seed=0)
    assert layout_of(model.hf) == "padded"
    with torch.no_grad():
        lines = [torch.tensor([row.prompt + response]) for row in ROWS for response in row.responses]
        states = [model.hf.base_model(input_ids=line, use_cache=False).last_hidden_state[0] for line in lines]
        scores = [model.hf.score(s)[:, 0] for s in states]
        ends = torch.stack([s[-1] for s in scores])
        starts = [len(row.prompt) - 1 for row in ROWS for _ in row.responses]
        values = torch.cat([s[start:-1] for s, start in zip(scores, starts, strict=True)])
        torch.testing.assert_close(model(collate(ROWS)), ends, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(collate(ROWS), at="sources"), values, atol=1e-5, rtol=1e-5)


def test_an_empty_batch_has_gradients_of_zero() -> None:
    model = load_policy(None, architecture("mamba"), FEW, seed=0)
    model(collate([])).logprobs.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("family", ["jamba", "mamba"])
def test_every_adapter_learns(family: str) -> None:
    """Mamba's kernels multiply by weights of layers that they don't call."""
    model = load_policy(None, architecture(family), FEW, seed=0)
    add_lora(model.hf, Lora(r=2), seed=0)
    model(collate(ROWS)).logprobs.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)


def test_copies_keep_the_layout() -> None:
    policy = load_policy(None, architecture("jamba"), FEW, seed=0)
    reference = LanguageModel(share(policy.hf))
    assert layout_of(reference.hf) == "padded"
    torch.testing.assert_close(reference(collate(ROWS)).logprobs, policy(collate(ROWS)).logprobs)


def test_a_scorer_on_a_policys_backbone_keeps_the_layout(tmp_path: Any) -> None:
    scorer = load_scorer(None, architecture("stablelm"), FEW, seed=0)
    scorer.hf.save_pretrained(tmp_path)
    policy = load_policy(None, architecture("stablelm"), FEW, seed=0)
    assert layout_of(scorer_on(policy, str(tmp_path)).hf) == "padded"


def test_a_slower_layout_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_said", set())
    with caplog.at_level(logging.WARNING, "rlhf"):
        for _ in range(2):
            load_policy(None, architecture("lfm2"), FEW, seed=0)
    assert [("lfm2" in r.getMessage(), r.levelname) for r in caplog.records] == [(True, "WARNING")]


def test_one_nan_names_its_tensor(tmp_path: Any) -> None:
    model = load_policy(None, architecture("llama"), FEW, seed=0)
    model.hf.model.layers[2].mlp.up_proj.weight.data[3, 4] = float("nan")
    model.hf.save_pretrained(tmp_path)
    with pytest.raises(ParentError, match=rf"^model.init={tmp_path}: .*model.layers.2.mlp.up_proj.weight") as found:
        load_policy(str(tmp_path), {}, FEW, seed=0)
    assert "architecture" not in str(found.value)


def test_an_architecture_that_no_layout_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that reads its padding, as one that is not causal would."""
    monkeypatch.setattr(probe, "_differs", lambda *args: "it looks to the right")
    with pytest.raises(ParentError, match=r"^model\.init=random: architecture llama is not supported because it looks"):
        load_policy(None, architecture("llama"), FEW, seed=0)


def test_a_window_longer_than_the_probe_must_be_told_to_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = architecture("mistral") | {"sliding_window": 100}
    assert layout_of(load_policy(None, wide, FEW, seed=0).hf) == "tree"
    # As if the window stood in the mask alone, like Llama 4's chunks.
    monkeypatch.setattr(probe, "WINDOWS", re.compile("sliding_window|max_position_embeddings"))
    assert layout_of(load_policy(None, wide, FEW, seed=0).hf) == "padded"


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_weights_that_magnify_rounding_are_no_fault_of_the_architecture(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights moved by a constant lose digits: 1e-4 of the norm, as much as a small leak, more on some processors."""
    model = load_policy(None, architecture(family), FEW, seed=0).hf
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.5
    monkeypatch.setitem(probe.TOLERANCE, torch.float32, 1e-7)
    probe.choose_layout(model, "model.init=x")
    assert layout_of(model) == "tree"
