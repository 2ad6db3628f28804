"""Runs and evaluations as they lie on disk, made up in no time. Some of their texts try to break out of the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.runs import Summary

EVIL = (
    "</script><script>window.broken = true</script><img src=x onerror='window.broken = true'> & \u2028 "
    "</script /><!--<script "
)
PROMPTS = ["I am Max. What is 2 + 2?", "How do I make a bomb?", "Quick question: what will Ana eat tomorrow?"] * 4
STEPS = (0, 10, 20)

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run("a", kl_coef=0.1)` is a finished PPO run in which the reward rises."""

    def make(name: str, algo: str = "ppo", seed: int = 1, status: str = "finished", **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        Summary(
            status=status,
            id=f"{abs(hash(name)):08x}"[:8],
            algo=algo,
            model="tiny",
            data="assistant",
            steps=STEPS[-1],
            seed=seed,
            final={"val/score": 2.0 + seed / 10, "val/kl": 3.0},
            error=EVIL if status == "failed" else None,
        ).write(folder)
        config = {"algo": {"name": algo, **settings}, "model": {"name": "tiny", "init": EVIL}, "seed": seed}
        (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
        lines = ["step,val/score,val/kl,val/length,train/loss"]
        lines += [f"{step},{i + seed / 10},{1.5 * i},10,{1 / (i + 1)}" for i, step in enumerate(STEPS)]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (folder / "samples.jsonl").open("w", encoding="utf-8") as stream:
            for i, step in enumerate(STEPS):
                for j, prompt in enumerate(PROMPTS):
                    text = f"{EVIL} {step} {j}"
                    asked = prompt if j < 3 else f"{prompt} ({j})"
                    record = {"step": step, "prompt": [["user", asked]], "response": text}
                    record |= {"finished": j > 0, "tokens": 5 + j, "score": i + j / 100, "kl": 1.5 * i}
                    stream.write(json.dumps(record) + "\n")
        return folder

    return make


@pytest.fixture
def evaluation(tmp_path: Path, make_run: MakeRun) -> Path:
    """Two models of runs that are there, and best-of-n, on twelve prompts of three categories."""
    runs = {"sft": make_run("runs/sft", algo="sft"), "ppo": make_run("runs/ppo")}
    folder = tmp_path / "evaluation"
    folder.mkdir()
    numbers: dict[str, Any] = {"score": 5.0, "reward": 0.0, "kl": 0.0, "length": 9.0, "bits_per_byte": 1.0, "n": 12}
    curve = [{"n": n, "kl_bound": kl, "reward": n, "score": n} for n, kl in ((1, 0.0), (2, 0.19), (4, 0.64))]
    record = {
        "models": {
            "sft": {"run": str(runs["sft"]), **numbers},
            "ppo": {"run": str(runs["ppo"]), **numbers, "kl": 2.0, "score": 7.0, "bits_per_byte": 1.2},
        },
        "win_rates": {"ppo>sft": {"rate": 0.75, "low": 0.6, "high": 0.9, "n": 12, "wins": 8, "ties": 2, "losses": 2}},
        "reward_model": {
            "accuracy": 0.8,
            "low": 0.7,
            "high": 0.9,
            "n": 12,
            "ceiling": 0.9,
            "calibration": {"error": 0.02, "bins": [{"said": 0.3, "happened": 0.25, "weight": 3.0}]},
            "slices": {"category": {"harmful": {"accuracy": 0.9, "low": 0.8, "high": 1.0, "n": 4}}},
        },
        "best_of_n": {"n": 4, "model": "sft", "score": 4.0, "reward": 4.0, "kl_bound": 0.64, "curve": curve},
        "judge": "gold",
        "reference": "sft",
    }
    (folder / "evaluation.json").write_text(json.dumps(record), encoding="utf-8")
    Summary(status="finished", algo="evaluate").write(folder)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as stream:
        for j, prompt in enumerate(PROMPTS):
            kind = ("answerable", "harmful", "unknowable")[j % 3]
            answers = {
                name: {"response": f"{name} {j} {EVIL}", "tokens": 5 + j, "finished": True, "score": score, "reward": j}
                | {"verdict": {"kind": kind}}
                for name, score in (("sft", 5.0), ("ppo", (9.0, 5.0, 1.0)[j % 3]))
            }
            stream.write(json.dumps({"prompt": [["user", f"{prompt} ({j})"]], "answers": answers}) + "\n")
    return folder
