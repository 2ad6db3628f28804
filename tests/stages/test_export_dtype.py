"""In which precision a stage writes its model, and that what it says of it holds for what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.batch import collate
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.models.files.precision import stored_dtype
from rlhf.storage.weights import weights_sha256
from tests.stages.conftest import Main
from verbs.train import stage
from verbs.train.build import read_rows

SIZES = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}
CENTRED = 1e-5
"""Scores are summed in other portions here."""


def source(folder: Path) -> Path:
    tokenizer = load_tokenizer("tiny")
    export(load_policy(None, SIZES, tokenizer, seed=1), tokenizer, folder, dtype=torch.bfloat16)
    return folder


def written(run: Path) -> tuple[torch.dtype, str]:
    """Of the weights, and as `config.json` says it."""
    config = json.loads((run / "model/config.json").read_text())
    return stored_dtype((run / "model").glob("*.safetensors")), config["dtype"]


@torch.no_grad()
def test_a_reward_model_is_centred_as_it_is_written(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = stage.centre

    def centre(config: Any, module: Any, template: Any) -> None:
        seen.append((config, template))
        real(config, module, template)

    monkeypatch.setattr(stage, "centre", centre)
    model = source(tmp_path / "bf16")
    line = f"algo=reward model.init={model} algo.lr=1e-2 train.max_steps=2 hydra.run.dir={tmp_path / 'run'}"
    with torch.enable_grad():
        assert main(line) == 0
    run = tmp_path / "run"
    assert written(run) == (torch.bfloat16, "bfloat16")
    assert json.loads((run / "summary.json").read_text())["model_sha256"] == weights_sha256(run / "model")
    config, template = seen[0]
    rows = read_rows(config, template, "demonstrations").train[:1000]
    scorer = load_scorer(str(run / "model"), {}, template.tokenizer, seed=5, new_head=False)
    assert scorer.reward_mean != 0
    assert abs(float(torch.cat([scorer(collate([row])) for row in rows]).mean())) < CENTRED


def test_asked_for_fp32_it_is_fp32(main: Main, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = f"algo=sft model.init={source(tmp_path / 'bf16')} train.max_steps=1 train.samples=0 export.dtype=float32"
    assert main(f"{line} train.val_every=null hydra.run.dir={run}") == 0
    assert written(run) == (torch.float32, "float32")


def test_another_word_is_refused(main: Main) -> None:
    assert main("export.dtype=int4") == 2
