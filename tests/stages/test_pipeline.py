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

from launch.children import Children, Ending
from rlhf.errors import ConfigError
from rlhf.runs import Summary, all_runs
from rlhf.runs.lock import Lock

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parents[2]
SHORT = (
    "logger=csv gates=false pretrain.train.max_steps=30 sft.train.max_steps=20 preferences.collect.prompts=60 "
    "reward.train.max_steps=10 ppo.train.max_steps=3 ppo.train.batch_size=16 dpo.train.max_steps=6 "
    "pretrain.train.checkpoint_every=10 sft.train.checkpoint_every=5 evaluate.evaluation.prompts=24 "
    "evaluate.evaluation.best_of=4 evaluate.evaluation.texts=10 strategy.threads=1"
)
STAGES = ["pretrain", "sft", "collect", "reward", "ppo", "dpo", "evaluate"]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "pipeline.py"), *SHORT.split(), *more]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(folder: Path, *more: str) -> str:
    process = start(folder, *more)
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
    children = Children()
    children.start("sft", "train", ["algo.lr=5"])
    assert children.next() == Ending("sft", 2, None)
    assert "algo.lr: 5 is out of range" in capfd.readouterr().err


def test_children_side_by_side_say_who_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    children = Children()
    for name in ("reward", "dpo"):
        children.start(name, "train", [f"algo={name}", "algo.lr=5"], beside=True)
    assert {children.next().name, children.next().name} == {"reward", "dpo"}
    said = capfd.readouterr()
    for name in ("reward", "dpo"):
        assert any(line.split("│")[0].strip() == name and "algo.lr: 5" in line for line in said.out.splitlines())
    assert not said.err


@pytest.mark.slow
def test_children_that_are_stopped_save_themselves(tmp_path: Path) -> None:
    children = Children()
    line = (
        "algo=sft model.init=random data.limit=300 logger=csv train.samples=0 train.log_every=1 train.max_steps=99999 "
        "train.checkpoint_every=1 train.val_every=null"
    )
    for name in ("a", "b"):
        overrides = [*line.split(), f"hydra.run.dir={tmp_path / name}"]
        children.start(name, "train", overrides, beside=True)
    while not all(list((tmp_path / name / "checkpoints").glob("*.ckpt")) for name in ("a", "b")):
        time.sleep(0.05)
    children.stop()
    assert [Summary.read(tmp_path / name).status for name in ("a", "b")] == ["interrupted"] * 2
    assert all(Summary.read(tmp_path / name).steps >= 1 for name in ("a", "b"))


@pytest.mark.slow
def test_killed_and_run_again_it_ends_the_same_and_redoes_nothing(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    assert "evaluate" in finish(tmp_path / "whole", "strategy.threads=1")
    started: dict[str, str] = {}
    outputs = tmp_path / "parts" / "outputs"
    for sign in ("pretrain/*/*/checkpoints/*.ckpt", "sft/*/*/metrics.csv", "reward/*/*/checkpoints/*.ckpt"):
        process = start(tmp_path / "parts", "parallel=2", "strategy.threads=1")  # changes neither names nor numbers
        while not list(outputs.glob(sign)) and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_unlocked(outputs)
        for _, summary in all_runs(outputs):
            if summary.status == "finished":
                started.setdefault(summary.algo, summary.finished_at or "")
    finish(tmp_path / "parts", "parallel=2", "strategy.threads=1")
    runs = {summary.algo: summary for _, summary in all_runs(tmp_path / "parts" / "outputs")}
    assert list(runs) and sorted(runs) == sorted(STAGES), "one run a stage"
    assert started and all(runs[algo].finished_at == when for algo, when in started.items())
    assert {run.id for run in runs.values()} == {run.id for _, run in all_runs(tmp_path / "whole" / "outputs")}
    assert finals(tmp_path / "parts") == finals(tmp_path / "whole")
    assert "nothing to do" in finish(tmp_path / "parts")
    (evaluation,) = (tmp_path / "parts" / "outputs" / "evaluate").glob("*/*/evaluation.json")
    assert set(json.loads(evaluation.read_text())["models"]) == {"base", "sft", "dpo", "ppo"}
    assert Summary.read(evaluation.parent).status == "finished"
