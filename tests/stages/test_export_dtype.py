"""In which precision a stage writes its model, and that what it says of it holds for what was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from lightning_modules.reward import RewardModule
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.models.files.precision import stored_dtype
from rlhf.storage.weights import weights_sha256
from tests.stages.conftest import Main

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
    seen: list[Row] = []
    real = RewardModule._moments

    def moments(self: RewardModule, rows: Sequence[Row]) -> tuple[float, float]:
        seen.extend(rows)
        return real(self, rows)

    monkeypatch.setattr(RewardModule, "_moments", moments)
    model = source(tmp_path / "bf16")
    line = f"algo=reward model.init={model} algo.lr=1e-2 train.max_steps=2 hydra.run.dir={tmp_path / 'run'}"
    with torch.enable_grad():
        assert main(line) == 0
    run = tmp_path / "run"
    assert written(run) == (torch.bfloat16, "bfloat16")
    assert json.loads((run / "summary.json").read_text())["model_sha256"] == weights_sha256(run / "model")
    scorer = load_scorer(str(run / "model"), {}, load_tokenizer("tiny"), seed=5, new_head=False)
    assert scorer.reward_mean != 0
    assert abs(float(torch.cat([scorer(collate([row])) for row in seen]).mean())) < CENTRED


def test_asked_for_fp32_it_is_fp32(main: Main, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = f"algo=sft model.init={source(tmp_path / 'bf16')} train.max_steps=1 train.samples=0 export.dtype=float32"
    assert main(f"{line} train.val_every=null hydra.run.dir={run}") == 0
    assert written(run) == (torch.float32, "float32")


def test_another_word_is_refused(main: Main) -> None:
    assert main("export.dtype=int4") == 2
