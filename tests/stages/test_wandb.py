"""Offline runs of W&B read back: keys, axes, tables, and who was made from whom."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_file import OfflineRun

from collect import collect
from evaluate import evaluate
from rlhf.config import DataConfig
from rlhf.runs import Summary
from tracking import artifacts
from tracking.groups import GROUP, group_of, group_pipeline
from tracking.wandb_tables import attempt, media

pytestmark = pytest.mark.ci

Main = Callable[[str], int]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, and no group of another test."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    # Set first, so that what a test leaves there is taken away after it.
    monkeypatch.setenv(GROUP, "")
    monkeypatch.delenv(GROUP)


@pytest.mark.ci
def test_a_run_of_wandb_is_continued(main: Main) -> None:
    """What the installed version of W&B leaves in a run directory is nothing that a resume refuses."""
    line = "algo=sft model.init=random logger.wandb=offline strategy.threads=1 train.samples=0 hydra.run.dir=run"
    assert main(f"{line} train.max_steps=1") == 0
    assert main(f"{line} train.max_steps=1 resume=true") == 0
    assert Summary.read(Path("run")).status == "finished"


@pytest.mark.slow
def test_three_stages_and_their_lineage(main: Main) -> None:
    """Data set and SFT → reward model → policy, each known by the same name and content to its maker and its users."""
    offline = "logger.wandb=offline logger.tags=[mine] callbacks.samples=true strategy.threads=1 train.max_steps=2"
    assert main(f"algo=sft model.init=random {offline} hydra.run.dir=sft") == 0
    assert main(f"algo=reward model.init=sft {offline} hydra.run.dir=rm logger.artifacts=files") == 0
    assert main(f"algo=ppo model.init=sft algo.reward_model=rm {offline} hydra.run.dir=ppo logger.group=g") == 0
    runs = {name: OfflineRun(Path(name)) for name in ("sft", "rm", "ppo")}
    ids = {name: Summary.read(Path(name)).id for name in runs}

    lineage = {name: {(a.type, a.name, a.used) for a in run.artifacts} for name, run in runs.items()}
    data = next(a.name for a in runs["sft"].artifacts if a.type == "dataset")
    sft, reward = f"sft-{ids['sft']}", f"reward-{ids['rm']}"
    assert lineage["sft"] == {("dataset", data, True), ("model", sft, False)}
    assert lineage["rm"] == {("dataset", data, True), ("model", sft, True), ("reward-model", reward, False)}
    assert lineage["ppo"] == {
        *{("dataset", data, True), ("model", sft, True), ("reward-model", reward, True)},
        ("model", f"ppo-{ids['ppo']}", False),
    }
    cards = [a for name in ("sft", "ppo") for a in runs[name].artifacts if a.name == sft]
    assert len(cards) == 2 and cards[0].digest == cards[1].digest, "or W&B would take them for two versions"
    assert cards[0].metadata["sha256"] == Summary.read(Path("sft")).model_sha256 and cards[0].files == ["card.json"]
    whole = next(a for a in runs["rm"].artifacts if not a.used)
    assert {"card.json", "config.json", "model.safetensors", "tokenizer.json"} <= set(whole.files)

    ppo = runs["ppo"]
    assert (ppo.run.run_group, ppo.run.job_type) == ("g", "ppo") and runs["rm"].run.run_group == ""
    assert set(ppo.run.tags) == {"ppo", "tiny", "assistant", "mine"}
    assert ppo.config["algo"]["kl_coef"] == pytest.approx(0.05, abs=1) and ppo.config["seed"] == 1
    assert ppo.axes["*"] == "trainer/step" and {"episodes", "tokens"} <= set(ppo.axes)
    steps = [row["trainer/step"] for row in ppo.history]
    assert steps == sorted(steps) and set(steps) == {0, 1, 2}
    trained = [row for row in ppo.history if "objective/kl" in row]
    assert [row["episodes"] for row in trained] == [8, 16] and trained[0]["tokens"] > 0
    assert all("examples" in row for row in runs["sft"].history)
    for name in ("val/score", "policy/entropy", "response/length", "value/explained_variance", "time/rollout"):
        assert ppo.values(name), name

    table = ppo.table("samples")
    assert table["columns"] == ["step", "prompt", "response", "tokens", "finished", "score", "kl"]
    written = [json.loads(line) for line in Path("ppo", "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [row for row in written if row["step"] == 2]
    assert [row[2] for row in table["data"]] == [row["response"] for row in last] and table["data"][0][0] == 2
    for name in ("length", "score", "kl"):
        assert [sum(counts) for counts in ppo.values(f"samples/{name}/values")] == [2, 2], name


@pytest.mark.slow
def test_from_data_to_evaluation_everything_made_is_what_the_next_one_used(main: Main) -> None:
    """Data → SFT → preferences → reward model → policy → evaluation, the file of preferences under another name."""
    offline, two = "logger.wandb=offline strategy.threads=1", "train.max_steps=2 train.samples=0"
    few = "rollout.max_new_tokens=6"
    assert main(f"algo=sft model.init=random {two} {offline} hydra.run.dir=sft") == 0
    line = f"model.init=sft collect.prompts=60 collect.samples=2 {few} {offline} hydra.run.dir=preferences"
    assert collect.main(line.split()) == 0
    file = "data=jsonl data.name=another data.path=preferences/preferences.jsonl"
    assert main(f"algo=reward model.init=sft {file} {two} {offline} hydra.run.dir=rm") == 0
    assert main(f"algo=ppo model.init=sft algo.reward_model=rm {two} {offline} hydra.run.dir=ppo") == 0
    compared = "models.sft=sft models.ppo=ppo evaluation.reward_model=rm evaluation.prompts=8 evaluation.guide=false"
    assert evaluate.main(f"{compared} evaluation.best_of=2 {few} {offline} hydra.run.dir=out".split()) == 0
    runs = {name: OfflineRun(Path(name)) for name in ("sft", "preferences", "rm", "ppo", "out")}
    used = {name: {(a.name, a.digest) for a in run.artifacts if a.used} for name, run in runs.items()}
    made = {name: next((a.name, a.digest) for a in run.artifacts if not a.used) for name, run in runs.items()}
    task = next((a.name, a.digest) for a in runs["sft"].artifacts if a.used)
    assert used == {
        "sft": {task},
        "preferences": {task, made["sft"]},
        "rm": {made["preferences"], made["sft"]},
        "ppo": {task, made["sft"], made["rm"]},
        "out": {task, made["sft"], made["ppo"], made["rm"]},
    }
    assert set(runs["out"].run.tags) == {"evaluate", "tiny", "assistant"}
    assert {a.type for a in runs["out"].artifacts} == {"dataset", "model", "reward-model", "evaluation"}


def test_points_of_a_sweep_are_runs_of_their_own(main: Main) -> None:
    offline = "logger.wandb=offline train.max_steps=1 strategy.threads=1 model.init=random"
    assert main(f"algo=sft {offline} seed=1,2 -m") == 0
    points = sorted(summary.parent for summary in Path().glob("outputs/multirun/*/*/summary.json"))
    runs = [OfflineRun(point) for point in points]
    assert len({run.run.run_id for run in runs}) == 2 and [run.config["seed"] for run in runs] == [1, 2]
    assert {run.run.run_group for run in runs} == {f"sweep-{points[0].parent.name}"}
    assert [{a.type: a.used for a in run.artifacts} for run in runs] == [{"dataset": True, "model": False}] * 2
    assert all(run.axes["*"] == "trainer/step" and run.values("train/loss") for run in runs)
    assert all(len(run.table("samples")["data"]) == 2 for run in runs)


def test_artifacts_can_be_left_out(main: Main) -> None:
    offline = "logger.wandb=offline logger.artifacts=off train.max_steps=1 train.samples=0 strategy.threads=1"
    assert main(f"algo=sft model.init=random {offline} hydra.run.dir=sft") == 0
    assert not OfflineRun(Path("sft")).artifacts


def test_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    point, single = Path("outputs/multirun/now/0-abc"), Path("outputs/sft/now")
    assert (group_of(None, point), group_of(None, single), group_of("mine", point)) == ("sweep-now", None, "mine")
    monkeypatch.setenv(GROUP, "theirs")
    assert (group_of(None, point), group_of("mine", point)) == ("theirs", "mine")


def test_a_pipeline_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for typed in (["seed=1", "model=tiny"], ["model=tiny", "seed=1"], ["seed=2", "model=tiny"]):
        monkeypatch.delenv(GROUP, raising=False)
        group_pipeline(typed)
        names.append(os.environ[GROUP])
    assert names[0] == names[1] != names[2] and names[0].startswith("pipeline-")
    group_pipeline(["another"])
    assert os.environ[GROUP] == names[2], "whoever sets it decides"


def test_data_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a"}\n')
    mine = DataConfig(name="own", source="file", path=str(file))
    first = artifacts.data_artifact(mine, files=True)
    assert set(first.manifest.entries) == {"card.json", "a.jsonl"} and first.metadata["path"] == str(file)
    moved = file.rename(tmp_path / "b.jsonl")
    again = artifacts.data_artifact(DataConfig(name="own", source="file", path=str(moved)))
    assert again.name == first.name
    collected = artifacts.file_artifact(moved, {"directory": "elsewhere"})
    other = artifacts.data_artifact(DataConfig(name="other", source="hub", path=str(moved)))
    assert {a.name for a in (collected, other)} == {first.name}, "whoever made it, and whatever it is called"
    assert collected.digest == other.digest == again.digest
    moved.write_text('{"prompt": "b"}\n')
    assert artifacts.data_artifact(DataConfig(name="own", source="file", path=str(moved))).name != first.name
    assert artifacts.data_artifact(DataConfig(seed=1)).digest == artifacts.data_artifact(DataConfig(seed=1)).digest
    assert artifacts.data_artifact(DataConfig(seed=1)).name != artifacts.data_artifact(DataConfig(seed=2)).name


def test_what_fails_is_told_and_nothing_stops(caplog: pytest.LogCaptureFixture) -> None:
    def fail(reason: str) -> None:
        raise ConnectionError(reason)

    attempt("samples", fail, "nobody there")
    assert "W&B: samples could not be sent: nobody there" in caplog.text


def test_samples_without_scores() -> None:
    row: dict[str, Any] = {"step": 1, "prompt": [["user", "Why?"]], "response": "So.", "tokens": 3, "finished": True}
    shown = media([row])
    assert set(shown) == {"samples", "samples/length"}
    assert shown["samples"].columns == ["step", "prompt", "response", "tokens", "finished"]
    assert shown["samples"].data == [[1, "Why?", "So.", 3, True]]
