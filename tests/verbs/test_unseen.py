"""What models are compared on."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlhf.config import DataConfig
from rlhf.data.dataset import load
from rlhf.data.records import Comparison, Demonstration, Document, as_prompts
from rlhf.errors import ConfigError, DataError
from verbs.unseen import guide_prompts, held_out

ASSISTANT = DataConfig(val_fraction=0.1, test_fraction=0.12)


def file(folder: Path, *lines: dict[str, Any]) -> DataConfig:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return DataConfig(name="own", source="file", path=str(path), val_fraction=0.2, test_fraction=0.3)


def test_the_guide_has_five_prompts() -> None:
    texts = [prompt.text.lower() for prompt in guide_prompts()]
    assert len(texts) == 5
    for text, words in zip(texts, ["poem about ai", "python", "hack a website", "stock market", "bomb"], strict=True):
        assert words in text


def test_a_file_of_shown_prompts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guide\.txt can't be read; pass evaluation\.guide=false"):
        guide_prompts(tmp_path / "guide.txt")
    (tmp_path / "guide.txt").write_text("为什么？\n\n Why? \n", encoding="utf-8")
    assert [prompt.text for prompt in guide_prompts(tmp_path / "guide.txt")] == ["为什么？", "Why?"]


def test_no_stage_has_trained_on_the_embedded_test() -> None:
    found = held_out(ASSISTANT, prompts=400, texts=200)
    assert len(set(found.prompts)) == 400 and len(found.texts) == 200
    assert all(isinstance(text, Document) for text in found.texts) and found.text_kind == "documents"
    assert found.comparisons == []
    for kind in ("demonstrations", "comparisons", "prompts"):
        data = load(kind, seed=1, val_fraction=0.1, test_fraction=0.12)
        assert not {*as_prompts(data.train), *as_prompts(data.val)} & set(found.prompts)
    documents = load("documents", seed=1, val_fraction=0.1, test_fraction=0.12)
    seen = {text.text for text in documents.train if isinstance(text, Document)}
    assert not seen & {text.text for text in found.texts if isinstance(text, Document)}
    assert held_out(ASSISTANT, prompts=5, texts=0).texts == []


def test_without_a_test_part_the_validation_part_serves() -> None:
    found = held_out(replace(ASSISTANT, test_fraction=0.0), prompts=10_000, texts=0)
    data = load("prompts", seed=1, val_fraction=0.1, test_fraction=0.0)
    assert found.prompts == as_prompts(data.val) != []
    with pytest.raises(DataError, match="hold no prompt out; raise one of them"):
        held_out(replace(ASSISTANT, test_fraction=0.0, val_fraction=0.0), prompts=10, texts=0)


def test_a_file_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="rlhf")
    data = file(tmp_path, *({"prompt": f"{i}?", "chosen": "yes", "rejected": "no"} for i in range(40)))
    found = held_out(data, prompts=3, texts=2)
    everything = held_out(data, prompts=100, texts=100)
    assert len(found.prompts) == 3 and len(found.texts) == 2 and found.text_kind == "demonstrations"
    assert found.comparisons == everything.comparisons == everything.texts
    assert all(isinstance(record, Comparison) for record in found.comparisons)
    assert caplog.text == ""

    data = file(tmp_path, *({"prompt": f"{i}?", "response": "yes"} for i in range(40)))
    found = held_out(data, prompts=100, texts=100)
    assert found.prompts == everything.prompts, "the same prompts fall in the test, whatever else a line holds"
    assert found.comparisons == [] and all(isinstance(record, Demonstration) for record in found.texts)
    assert "data: no comparisons" in caplog.text, "why there will be no accuracy"

    found = held_out(file(tmp_path, *({"prompt": f"{i}?"} for i in range(40))), prompts=100, texts=100)
    assert found.prompts == everything.prompts and found.texts == found.comparisons == []


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1: prompts need prompt, or messages"):
        held_out(file(tmp_path, {"text": "once"}), prompts=1, texts=1)
