"""`pipeline=rounds` with stages of a few steps, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_runners import run_whole

from rlhf.runs import Summary, all_runs
from rlhf.runs.listing import read_config

pytestmark = pytest.mark.ci

SHORT = [
    "logger=csv",
    "strategy.threads=1",
    "gates=false",
    "rollout.max_new_tokens=8",
    *(f"model.architecture.{size}" for size in ("n_embd=32", "n_layer=2", "n_head=2")),
    # A model folder does not say how long its answers are.
    *(f"{stage}.rollout.max_new_tokens=8" for stage in ("preferences", "compare", "evaluate")),
    *(f"reward.train.{few}" for few in ("max_steps=2", "val_batches=1")),
    "preferences.collect.parts=60",
    "preferences.collect.samples=2",
    *(f"compare.evaluation.{few}" for few in ("prompts=8", "shown=0")),
    *(f"evaluate.evaluation.{few}" for few in ("prompts=8", "best_of=2", "guide=false", "texts=2")),
]


PPO = [
    "pipeline=rounds",
    *(f"ppo.train.{few}" for few in ("max_steps=1", "val_every=null", "batch_size=8", "samples=2", "val_prompts=4")),
]
DPO = ["pipeline=rounds-dpo", *(f"dpo.train.{few}" for few in ("max_steps=1", "val_every=null", "samples=2"))]


def asked(collected: Path) -> set[str]:
    """The prompts of a collection."""
    lines = (collected / "preferences.jsonl").read_text("utf-8").splitlines()
    return {json.dumps(json.loads(line)["prompt"]) for line in lines}


def test_one_round_and_later_a_second_one(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = [*SHORT, *PPO, f"stages.sft.run={models}/a"]
    alone: dict[str, Any] = run_whole([*short, "rounds=1"])
    before = {path: summary.finished_at for path, summary in all_runs(tmp_path / "outputs")}
    first: dict[str, Any] = run_whole([*short, "rounds=2"])
    assert not {"pretrain", "sft"} & first.keys(), "a finished model takes their place"
    assert all(first[name] == folder for name, folder in alone.items() if name != "evaluate")
    after = {path: summary.finished_at for path, summary in all_runs(tmp_path / "outputs")}
    assert before.items() <= after.items(), "nothing is done twice"
    assert len(after) == len(before) + 5, "the stages of the second round, and another evaluation"
    assert (one := asked(first["round1/preferences"])) and (other := asked(first["round2/preferences"]))
    assert not one & other, "no prompt is asked twice"
    summaries = {name: Summary.read(folder) for name, folder in first.items()}
    assert all(summary.status == "finished" for summary in summaries.values())

    # What each was made of.
    def parent(name: str, key: str) -> Path:
        return Path(summaries[name].parents[key]["directory"])

    assert parent("round2/preferences", "model.init") == first["round1/ppo"]
    assert parent("round2/preferences", "collect.proxy") == first["round1/reward"]
    assert parent("round2/ppo", "model.init") == first["round1/ppo"]
    assert parent("round2/ppo", "algo.reward_model") == first["round2/reward"]
    assert parent("round2/ppo", "algo.reference_model") == models / "a"
    assert parent("round2/reward", "model.init") == models / "a"
    paths = read_config(first["round2/reward"])["data"]["path"]
    assert [Path(path).parent for path in paths] == [first["round1/preferences"], first["round2/preferences"]]
    assert "new>previous" in summaries["round2/compare"].final

    record = json.loads((first["evaluate"] / "evaluation.json").read_text("utf-8"))
    assert list(record["models"]) == ["sft", "round1", "round2"]
    assert [(one["round"], one["name"]) for one in record["rounds"]] == [(0, "sft"), (1, "round1"), (2, "round2")]
    assert {"gold", "proxy_gain", "kl", "accuracy"} <= record["rounds"][2].keys()
    page = (first["evaluate"] / "report.html").read_text("utf-8")
    assert 'id="rounds"' in page


def test_dpo_continues_from_the_newest_policy(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = run_whole([*SHORT, *DPO, f"stages.sft.run={models}/a", "rounds=2"])
    parents = Summary.read(made["round2/dpo"]).parents
    assert Path(parents["model.init"]["directory"]) == made["round1/dpo"]
    assert Path(parents["algo.reference_model"]["directory"]) == models / "a"
    path = read_config(made["round2/dpo"])["data"]["path"]
    assert Path(path).parent == made["round2/preferences"], "the newest comparisons alone"
    assert len(read_config(made["round2/reward"])["data"]["path"]) == 2
    record = json.loads((made["evaluate"] / "evaluation.json").read_text("utf-8"))
    assert [one["name"] for one in record["rounds"]] == ["sft", "round1", "round2"]
