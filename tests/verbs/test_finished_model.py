from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Phi3Config

from rlhf.config import DataConfig, StrategyConfig, TrainConfig
from rlhf.data.records import Prompt
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import ConfigError
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy
from rlhf.runs import Parent
from verbs import finished_model
from verbs.finished_model import Lengths, Loaded, lengths_beside, lengths_of, load_model
from verbs.train.build import check_context, read_rows


def run(folder: Path, max_length: int, max_new_tokens: int) -> Parent:
    folder.mkdir()
    text = f"data: {{max_length: {max_length}}}\nrollout: {{max_new_tokens: {max_new_tokens}}}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return Parent("run", folder)


def test_a_folder_reads_and_writes_as_much_as_the_runs_beside_it(tmp_path: Path) -> None:
    folder, long, short = Parent("folder", tmp_path), run(tmp_path / "a", 512, 32), run(tmp_path / "b", 128, 64)
    assert lengths_of(long) == Lengths(512, 32)
    assert lengths_of(folder) == Lengths()
    assert lengths_beside([folder, long, short]) == [Lengths(512, 64), Lengths(512, 32), Lengths(128, 64)]
    assert lengths_beside([folder]) == [Lengths()]


def test_a_model_without_bound_reads_as_much_as_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = load_tokenizer("tiny")
    small = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 64}
    export(load_policy(None, small, tiny, seed=1), tiny, tmp_path)
    parent = Parent("folder", tmp_path, str(tmp_path))
    cpu = StrategyConfig(accelerator="cpu", precision="fp32")
    assert load_model(parent, cpu, lengths=Lengths(2048, 16)).max_length == 64
    monkeypatch.setattr(finished_model, "context_of", lambda hf: None)
    assert load_model(parent, cpu, lengths=Lengths(2048, 16)).max_length == 2048
    assert load_model(parent, cpu).max_length == finished_model.DEFAULT_LENGTH


def test_cuts_of_prompts_that_are_only_answered_are_said(caplog: pytest.LogCaptureFixture) -> None:
    policy: Any = None
    loaded = Loaded(policy, template_for(load_tokenizer("tiny")), 40, 10)
    with caplog.at_level(logging.WARNING, "rlhf"):
        loaded.rows([Prompt.of("short")])
        assert not caplog.messages
        loaded.rows([Prompt.of("long " * 60), Prompt.of("short")])
    assert [("1 prompts" in said, "of 2 prompts" in said) for said in caplog.messages] == [(True, True)]


def test_cuts_of_validation_are_said_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, prompt in (("train", "short"), ("val", "long " * 60)):
        lines = [json.dumps({"prompt": f"{i} {prompt}", "response": "yes"}) for i in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = DataConfig(
        name="jsonl", source="file", path=str(tmp_path / "train.jsonl"), val_path=str(tmp_path / "val.jsonl"),
        max_length=40,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "rlhf"):
        read_rows(TrainConfig(data=data), template_for(load_tokenizer("tiny")), "demonstrations")
    assert [said for said in caplog.messages if "3 validation examples" in said]
    assert not [said for said in caplog.messages if "3 examples" in said]


def test_texts_longer_than_where_the_rotation_changes_are_refused() -> None:
    """`longrope` reads all texts of a batch by other frequencies as soon as one is longer."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    sizes = {"pad_token_id": 0, "original_max_position_embeddings": 12, "max_position_embeddings": 64}
    hf = SimpleNamespace(config=Phi3Config(hidden_size=64, num_attention_heads=4, rope_parameters=rope, **sizes))
    check_context(TrainConfig(data=DataConfig(max_length=12)), "policy", hf)
    with pytest.raises(ConfigError, match=r"^data\.max_length: 13 .*policy.* 12 "):
        check_context(TrainConfig(data=DataConfig(max_length=13)), "policy", hf)
