"""Sizes that make no model end in a sentence before memory is taken; no text changes how others are read."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from benchmarks.families.configurations import FAMILIES, architecture
from benchmarks.families.plain import plain, plain_logprobs
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import ParentError, UserError
from rlhf.models.architectures import architecture_config, refusal, skeleton
from rlhf.models.files.loading import load_policy
from rlhf.models.sizes import check_sizes, context_of
from tests.models.tiny_families import FEW, louder


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LlamaConfig(), None),
        (GPT2Config(), None),
        (GPT2Config(n_layer=10**9), "n_layer"),
        (LlamaConfig(intermediate_size=10**9), "intermediate_size"),
        (GPT2Config(vocab_size=10**12), "vocab_size"),
    ],
)
def test_sizes_that_no_model_has_are_named(config: Any, name: str | None) -> None:
    if name is None:
        check_sizes(config, refusal("x", config))
        return
    with pytest.raises(ParentError, match=f"^model.init=x: .*{name}"):
        check_sizes(config, refusal("x", config))


@pytest.mark.parametrize("family", FAMILIES)
def test_real_sizes_pass(family: str) -> None:
    config = architecture_config({"model_type": family}, {}, {})
    check_sizes(config, refusal(None, config))


IMPOSSIBLE = [
    ("gpt2", "n_head", 5),
    ("gpt2", "n_head", 0),
    ("gpt2", "n_head", -4),
    ("gpt2", "n_embd", -64),
    ("gpt2", "n_embd", 0),
    ("gpt2", "n_embd", 1_000_000),  # 12 terabytes a layer
    ("gpt2", "n_layer", -1),
    ("gpt2", "n_layer", 0),
    ("gpt2", "n_layer", 100_000_000),
    ("gpt2", "n_positions", 0),
    ("gpt2", "n_positions", 10**11),
    ("gpt2", "n_inner", 10**12),
    ("gpt2", "n_inner", -1),
    ("gpt2", "vocab_size", -5),
    ("gpt2", "vocab_size", 10**10),
    ("llama", "num_key_value_heads", 3),
    ("llama", "num_key_value_heads", 0),
    ("llama", "head_dim", -16),
    ("llama", "head_dim", 15),  # rotation needs pairs
    ("llama", "hidden_size", 12.5),
    ("llama", "hidden_size", "big"),
    ("llama", "intermediate_size", 10_000_000_000),
    ("mixtral", "num_local_experts", 99_999_999),
    ("mixtral", "num_experts_per_tok", 9),
    ("mistral", "sliding_window", -3),
    ("jamba", "mamba_d_state", -8),
]


GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
TRIED = pytest.mark.parametrize(("family", "name", "value"), IMPOSSIBLE)


@TRIED
def test_impossible_sizes_are_a_sentence(family: str, name: str, value: Any) -> None:
    own = GPT2 if family == "gpt2" else architecture(family)
    sizes = {key: size for key, size in own.items() if key != "num_experts"} | {name: value}  # Mixtral's other name
    with pytest.raises(UserError, match=r"^model\.(architecture|init=random)") as found:
        load_policy(None, sizes, FEW, seed=0)
    assert "\n" not in str(found.value)
    with suppress(UserError), torch.device("meta"):  # plans need not try what only a pass would show
        skeleton("causal", None, sizes, 96)


@pytest.mark.parametrize(("family", "name", "value"), IMPOSSIBLE[::2])
def test_impossible_sizes_of_a_folder_are_a_sentence(family: str, name: str, value: Any, tmp_path: Path) -> None:
    load_policy(None, GPT2 if family == "gpt2" else architecture(family), FEW, seed=0).hf.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {name: value}))
    with pytest.raises(UserError, match=r"^model\.init") as found:
        load_policy(str(tmp_path), {}, FEW, seed=0)
    assert str(tmp_path) in str(found.value) and "\n" not in str(found.value)


def factors(value: float) -> list[float]:
    return [value] * 8


ROPES: dict[str, tuple[str, dict[str, Any], int]] = {
    "longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 12,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": factors(1.0),
                "long_factor": factors(4.0),
                "original_max_position_embeddings": 12,
            },
        },
        12,
    ),
    "dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}, 12),
}


@pytest.mark.parametrize("kind", ROPES)
def test_no_text_changes_the_rotation_of_others_within_the_context(kind: str) -> None:
    """Rotations that depend on the longest text of a batch are those of short texts up to `context_of`, not beyond."""
    family, options, context = ROPES[kind]
    longest = {"max_position_embeddings": 12 if kind == "dynamic" else 128}
    model = load_policy(None, architecture(family) | longest | options, FEW, seed=0)
    louder(model.hf)
    assert context_of(model.hf) == context
    short = [Row((5, 6, 7), ((8, 9, 10), (11, 12)))]
    for length in (context, context + 1):
        rows = [*short, Row((20, 21), (tuple(range(30, 28 + length)),))]
        with torch.no_grad():
            found = model(collate(rows)).logprobs
            far = float((found - plain_logprobs(plain(model.hf), rows)).abs().max())
        assert (far < 1e-4) == (length == context), (length, far)
