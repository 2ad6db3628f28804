"""`pipeline=overoptimisation` with stages of a few steps, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_runners import run_whole

from rlhf.runs import Summary, all_runs

pytestmark = pytest.mark.ci

EXAMPLES = {"reward_100": 6, "reward_400": 12, "reward_1600": 24}
SHORT = [
    "pipeline=overoptimisation",
    "logger=csv",
    "strategy.threads=1",
    "rollout.max_new_tokens=8",
    *(f"model.architecture.{size}" for size in ("n_embd=32", "n_layer=2", "n_head=2")),
    *(f"{stage}.train.{few}" for stage in ("pretrain", "sft", *EXAMPLES) for few in ("max_steps=2", "val_batches=1")),
    "sft.train.samples=0",
    "preferences.collect.prompts=60",
    *(f"{stage}.data.train_examples={n}" for stage, n in EXAMPLES.items()),
    *(
        f"{stage.replace('reward', 'ppo')}.train.{setting}"
        for stage in EXAMPLES
        for setting in ("max_steps=4", "val_every=1", "batch_size=8", "samples=8", "val_prompts=4")
    ),
    *(f"evaluate.evaluation.{setting}" for setting in ("prompts=8", "best_of=8", "guide=false")),
]


def test_one_command_makes_the_picture_and_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_whole(SHORT)
    runs = list(all_runs(tmp_path / "outputs"))
    names = [summary.algo for _, summary in runs]
    assert sorted(names) == sorted(["pretrain", "sft", "collect", *["reward"] * 3, *["ppo"] * 3, "evaluate"])
    folder, _ = next(found for found in runs if found[1].algo == "evaluate")
    assert (folder / "overoptimisation.svg").read_text("utf-8").startswith("<svg")
    tracks: list[dict[str, Any]] = json.loads((folder / "evaluation.json").read_text("utf-8"))["overoptimisation"]
    expected = [(name, method) for method in ("best_of_n", "ppo") for name in EXAMPLES]
    assert [(track["name"], track["method"]) for track in tracks] == expected
    assert all([point["step"] for point in track["points"]] == [0, 1, 2, 3, 4] for track in tracks[3:])
    # Each policy was trained against the reward model of its name, from as many comparisons as that says.
    for best, trained in zip(tracks[:3], tracks[3:], strict=True):
        against = Summary.read(Path(trained["run"])).parents["algo.reward_model"]["directory"]
        assert Path(against) == Path(best["run"])
        assert f"train {EXAMPLES[best['name']]}," in (Path(best["run"]) / "train.log").read_text("utf-8")
    before = {path: summary.finished_at for path, summary in runs}
    run_whole(SHORT)
    assert {path: summary.finished_at for path, summary in all_runs(tmp_path / "outputs")} == before
