"""`strategy.tensor_parallel` gives the numbers of one process, in every stage, alone and beside shards."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from benchmarks.exactness.layouts import Cell, deviation, start
from rlhf.config import StrategyConfig
from rlhf.errors import ConfigError
from rlhf.runs import Summary
from tests.strategies.test_layouts import SPECIAL, TOLERANCE
from tests.strategies.test_layouts import check as beside_one_process
from tests.strategies.test_moving import stopped
from verbs.train.trainer import build_strategy

SPLIT = "strategy.tensor_parallel=2"
WIDE = "train.batch_size=16"
"""Every group needs a prompt, and several micro-batches to share out."""
CLIPPED = "algo.lr=1e-3 algo.max_grad_norm=0.1"
"""Norms are above 1 in all steps, so that a wrong norm makes another update. Steps are large enough to matter."""
BIASES = "+model.architecture.attention_bias=true +model.architecture.mlp_bias=true"
"""Of layers that are split by their inputs too: whole on every process of a group, and counted once in a norm."""
MOVING = f"{WIDE} algo.lr=1e-3"


def cell(stage: str, layout: str, backbone: str, extra: str = "", own: str = SPLIT) -> Cell:
    return Cell(stage, layout, extra=extra, own=own, backbone=backbone)


def norms(run: Path) -> list[float]:
    """Gradient norms of all steps and models: AdamW's updates don't show by what a gradient is too large."""
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [float(row[name]) for row in rows for name in row if "grad_norm" in name and row[name]]


def reward_mean(run: Path) -> float:
    return float(json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["reward_mean"])


def check(cells: list[Cell], folder: Path, devices: int = 2) -> None:
    """Gradient norms too."""
    beside_one_process(cells, folder, devices)
    for one in cells:
        ours, theirs = norms(folder / one.name), norms(folder / one.alone.name)
        assert len(ours) >= 6 and ours == pytest.approx(theirs, rel=TOLERANCE), one


@pytest.mark.slow
def test_every_stage_with_split_layers(tmp_path: Path) -> None:
    cells = [cell(stage, "fsdp", "llama") for stage in ("reward", "dpo", "ppo")]
    cells += [cell("sft", layout, backbone, CLIPPED) for layout, backbone in (("fsdp", "llama"), ("zero2", "qwen2"))]
    cells += [
        cell("ppo", "zero2", "qwen2", SPECIAL),
        cell("ppo", "fsdp", "llama", "algo.ptx_coef=0.1 strategy.gradient_checkpointing=true"),
        cell("sft", "fsdp", "qwen2", own=f"{SPLIT} strategy.cpu_offload=true"),
    ]
    check(cells, tmp_path)


@pytest.mark.slow
def test_groups_that_split_layers_and_shard_what_is_left(tmp_path: Path) -> None:
    cells = [
        cell("sft", "fsdp", "llama", f"{WIDE} {CLIPPED} {BIASES}"),
        cell("sft", "zero2", "qwen2", f"{WIDE} {CLIPPED}"),
    ]
    cells += [cell("reward", "fsdp", "llama", WIDE), cell("dpo", "zero2", "qwen2", WIDE)]
    check([*cells, cell("ppo", "fsdp", "qwen2", WIDE)], tmp_path, devices=4)
    centred = [reward_mean(tmp_path / name) for name in (cells[2].name, cells[2].alone.name)]
    assert centred[0] == pytest.approx(centred[1], abs=TOLERANCE)


@pytest.mark.slow
def test_runs_that_move_between_split_layers_and_others(tmp_path: Path) -> None:
    """The MLP's 27 columns of a process don't divide by the two that shard them."""
    one, split = Cell("sft", extra=MOVING, backbone="qwen2"), cell("sft", "fsdp", "qwen2", MOVING)
    shards = cell("sft", "fsdp", "qwen2", MOVING, own="")
    moves = [(one, split, 4), (split, split, 4), (split, one, 1), (split, shards, 2)]
    start([one.line(tmp_path, 1)], tmp_path, 1, 600)
    start([split.line(tmp_path, 4)], tmp_path, 4, 600)
    folders = [stopped(tmp_path / first.name, tmp_path / f"move-{i}") for i, (first, _, _) in enumerate(moves)]
    for devices in (1, 2, 4):
        lines = [
            f"{then.line(tmp_path, devices)} hydra.run.dir={folder} resume=true"
            for folder, (_, then, wanted) in zip(folders, moves, strict=True)
            if wanted == devices
        ]
        start(lines, tmp_path, devices, 600)
    for folder, (first, then, _) in zip(folders, moves, strict=True):
        summary = Summary.read(folder)
        assert (summary.status, summary.resumed_from, summary.steps) == ("finished", 4, 6)
        found = deviation(folder, tmp_path / one.name)
        print(first.name, then.name, found)
        assert max(found.loss, found.weights) <= TOLERANCE, (first, then)
    stayed = deviation(folders[1], tmp_path / split.name)
    assert stayed.loss == stayed.weights == 0


def test_groups_must_use_up_the_processes() -> None:
    """With `strategy.devices=auto` only the machine says how many there are."""
    with pytest.raises(ConfigError, match=r"strategy\.tensor_parallel: 2 does not divide the 3 processes of this run"):
        build_strategy(StrategyConfig(layout="fsdp", tensor_parallel=2), devices=3)


@pytest.mark.slow
def test_a_model_without_a_plan_is_refused_before_any_process_is_started(tmp_path: Path) -> None:
    line = f"{Cell('sft', 'fsdp', own=SPLIT).line(tmp_path, 2)}"
    sentence = "strategy.tensor_parallel: transformers has no plan by which to split the layers of a gpt2"
    with pytest.raises(RuntimeError, match=sentence):
        start([line], tmp_path, 1, 300)
    assert not (tmp_path / Cell("sft", "fsdp", own=SPLIT).name / "metrics.csv").exists()
