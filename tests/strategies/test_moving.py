"""A run continues from where another layout stopped, and ends with the numbers of one that never moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.exactness.layouts import Cell, deviation, start
from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints

TOLERANCE = 5e-6
"""Of losses and weights in fp32, see test_layouts.py."""
STAGES = ("sft", "ppo")
MOVES = (
    ("single", "fsdp"),
    ("fsdp", "single"),
    ("single", "ddp"),
    ("ddp", "zero2"),
    ("zero2", "single"),
    ("fsdp", "fsdp"),
)


def stopped(finished: Path, run: Path) -> Path:
    """A copy of a finished run as it was after the step 4 of 6: a kill leaves rows of metrics that will come again."""
    shutil.copytree(finished, run)
    last = checkpoints(run)[-1]
    assert last.name == "step-00000006.ckpt"
    last.unlink()
    shutil.rmtree(run / "model")
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    (run / "summary.json").write_text(json.dumps(summary | {"status": "running"}), encoding="utf-8")
    return run


@pytest.mark.slow
def test_runs_that_move(tmp_path: Path) -> None:
    whole = [Cell(stage, layout) for stage in STAGES for layout in ("ddp", "fsdp", "zero2")]
    start([Cell("reward").line(tmp_path, 1), *(Cell(stage).line(tmp_path, 1) for stage in STAGES)], tmp_path, 1, 600)
    start([cell.line(tmp_path, 2) for cell in whole], tmp_path, 2, 600)
    lines: dict[int, list[str]] = {1: [], 2: []}
    for stage in STAGES:
        for first, then in MOVES:
            run = stopped(tmp_path / Cell(stage, first).name, tmp_path / f"{stage}-{first}-{then}")
            devices = 1 if then == "single" else 2
            lines[devices].append(f"{Cell(stage, then).line(tmp_path, devices)} hydra.run.dir={run} resume=true")
    for devices, found in lines.items():
        start(found, tmp_path, devices, 600)
    for stage in STAGES:
        for first, then in MOVES:
            run = tmp_path / f"{stage}-{first}-{then}"
            summary = Summary.read(run)
            assert (summary.status, summary.resumed_from, summary.steps) == ("finished", 4, 6)
            found = deviation(run, tmp_path / Cell(stage).name)
            print(stage, first, then, found)
            assert max(found.loss, found.weights) <= TOLERANCE, (stage, first, then)
        stayed = deviation(tmp_path / f"{stage}-fsdp-fsdp", tmp_path / Cell(stage, "fsdp").name)
        assert stayed.loss == stayed.weights == 0  # to the last bit where nothing moves
