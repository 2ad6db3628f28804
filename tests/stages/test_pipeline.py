"""The real pipeline, with stages of a few steps: in children of its own, killed, and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.children import perform
from rlhf.errors import ConfigError
from rlhf.runs import Summary, all_runs
from rlhf.runs.lock import Lock

ROOT = Path(__file__).parents[2]
SHORT = (
    "logger=csv gates=false pretrain.train.max_steps=30 sft.train.max_steps=20 preferences.collect.prompts=60 "
    "reward.train.max_steps=10 ppo.train.max_steps=3 ppo.train.batch_size=16 dpo.train.max_steps=6 "
    "pretrain.train.checkpoint_every=10 sft.train.checkpoint_every=5 evaluate.evaluation.prompts=24 "
    "evaluate.evaluation.best_of=4 evaluate.evaluation.texts=10 strategy.threads=1"
)
STAGES = ["pretrain", "sft", "collect", "reward", "ppo", "dpo", "evaluate"]


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "pipeline.py"), *SHORT.split()]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(folder: Path) -> str:
    process = start(folder)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-2000:]
    return said


def wait_until_unlocked(outputs: Path) -> None:
    """A killed pipeline's stage dies with it, as soon as it notices."""
    for directory, _ in all_runs(outputs):
        for _ in range(600):
            try:
                Lock(directory).release()
                break
            except ConfigError:
                time.sleep(0.05)
        else:
            raise AssertionError(f"{directory} is still in use")


def finals(folder: Path) -> dict[str, dict[str, float]]:
    """Final numbers by stage, but for what a clock says."""
    found = {summary.algo: summary.final for _, summary in all_runs(folder / "outputs")}
    clocked = ("seconds", "per_second", "time/")
    return {a: {k: v for k, v in final.items() if not any(c in k for c in clocked)} for a, final in found.items()}


def test_a_child_tells_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert perform("train", ["algo.lr=5"]) == (2, None)
    assert "algo.lr: 5 is out of range" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_and_run_again_it_ends_the_same_and_redoes_nothing(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    assert "evaluate" in finish(tmp_path / "whole")
    started: dict[str, str] = {}
    outputs = tmp_path / "parts" / "outputs"
    for sign in ("pretrain/*/*/checkpoints/*.ckpt", "sft/*/*/metrics.csv", "reward/*/*/checkpoints/*.ckpt"):
        process = start(tmp_path / "parts")
        while not list(outputs.glob(sign)) and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_unlocked(outputs)
        for _, summary in all_runs(outputs):
            if summary.status == "finished":
                started.setdefault(summary.algo, summary.finished_at or "")
    finish(tmp_path / "parts")
    runs = {summary.algo: summary for _, summary in all_runs(tmp_path / "parts" / "outputs")}
    assert list(runs) and sorted(runs) == sorted(STAGES), "one run a stage"
    assert started and all(runs[algo].finished_at == when for algo, when in started.items())
    assert finals(tmp_path / "parts") == finals(tmp_path / "whole")
    assert "nothing to do" in finish(tmp_path / "parts")
    (evaluation,) = (tmp_path / "parts" / "outputs" / "evaluate").glob("*/*/evaluation.json")
    assert set(json.loads(evaluation.read_text())["models"]) == {"base", "sft", "dpo", "ppo"}
    assert Summary.read(evaluation.parent).status == "finished"
