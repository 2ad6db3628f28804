"""Proxies and the runs that were trained against them, on tiny random models."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.evaluation.reward_model.preferences import best_of_bound
from rlhf.runs import Summary

pytestmark = pytest.mark.ci

Main = Callable[[str], int]
MakeRun = Callable[..., Path]
NAMES = ("Max", "Ben", "Eva", "Mia", "Sam", "Tom", "Ana", "Leo")
FOUND = "models.sft={a} evaluation.reward_model=null evaluation.guide=false evaluation.texts=0 evaluation.best_of=8"


@pytest.fixture
def make_run(models: Path, tmp_path: Path) -> MakeRun:
    """A finished run of the model `a`, with samples whose answers are right at first and nothing else later."""

    def make(name: str, scored: bool = True, start: int = 0, proxy: str | None = None) -> Path:
        run = tmp_path / name
        shutil.copytree(models / "a", run / "model")
        parents = {"algo.reward_model": {"kind": "folder", "directory": "x", "sha256": proxy}} if proxy else {}
        Summary(status="finished", algo="ppo", model="tiny", parents=parents).write(run)
        with (run / "samples.jsonl").open("w", encoding="utf-8") as stream:
            for i in range(start, 6):
                for n, person in enumerate(NAMES):
                    text = "2 + 2 is 4." if i < 4 else "I can't help with that."
                    record: dict[str, Any] = {"step": 2 * i, "prompt": [["user", f"I am {person}. What is 2 + 2?"]]}
                    record |= {"response": text, "finished": True, "tokens": 5}
                    record |= {"score": n + 3.0 * i, "kl": float(i * i)} if scored else {}
                    stream.write(json.dumps(record) + "\n")
        return run

    return make


def tracks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path("out", "evaluation.json").read_text("utf-8"))["overoptimisation"]
    return found


def test_two_proxies_and_a_run_against_one(main_evaluate: Main, make_run: MakeRun, capsys: Any) -> None:
    make_run("run")
    followed = "+evaluation.proxies.small={r} +evaluation.proxies.large={q} +evaluation.policies.small=run"
    assert main_evaluate(f"{FOUND} {followed}") == 0
    found = tracks()
    assert [(t["name"], t["method"]) for t in found] == [
        ("small", "best_of_n"),
        ("large", "best_of_n"),
        ("small", "ppo"),
    ]
    for track in found[:2]:
        assert [point["n"] for point in track["points"]] == [1, 2, 4, 8]
        assert [point["kl"] for point in track["points"]] == pytest.approx([best_of_bound(n) for n in (1, 2, 4, 8)])
        proxy = [point["proxy_gain"] for point in track["points"]]
        assert proxy[0] == 0 and proxy == sorted(proxy) and proxy[-1] > 0.5
    starts = [track["points"][0]["gold"] for track in found[:2]]
    assert starts[0] == pytest.approx(starts[1]), "the same samples, whoever chooses"
    run = found[2]
    assert [(p["step"], p["kl"], p["distance"]) for p in run["points"]] == [(2 * i, i * i, i) for i in range(6)]
    assert [p["gold"] for p in run["points"]] == [10, 10, 10, 10, 0, 0]
    # Its proxy is the one of its name, whose spread is known from many samples.
    assert run["points"][1]["proxy_gain"] * 2 == pytest.approx(run["points"][2]["proxy_gain"], abs=1e-5)
    assert run["fit"]["peak_distance"] > 0 and math.isclose(run["fit"]["curve"]["kl"][-1], 25)
    picture = Path("out", "overoptimisation.svg").read_text("utf-8")
    assert picture.startswith("<svg") and picture.count("<svg") == 1
    for shown in ("small", "large", "ppo, measured", "best of n, measured", "small · step 10 · KL 25.00"):
        assert shown in picture
    assert "d·(α − β·log d)" in Path("out", "report.md").read_text("utf-8")
    assert "gold_proxy" in Path("out", "report.html").read_text("utf-8")
    assert "picture: out/overoptimisation.svg" in capsys.readouterr().out


def test_runs_alone_need_no_model_and_no_samples_of_it(main_evaluate: Main, make_run: MakeRun) -> None:
    make_run("one")
    make_run("other")
    followed = "+evaluation.policies.single=one +evaluation.policies.ensemble=other evaluation.reward_model=null"
    assert main_evaluate(followed) == 0
    assert [(t["name"], t["method"], len(t["points"])) for t in tracks()] == [
        ("single", "ppo", 6),
        ("ensemble", "ppo", 6),
    ]


def test_data_without_a_judge_take_a_reward_model_for_gold(
    main_evaluate: Main, make_run: MakeRun, told: Callable[[], str], tmp_path: Path
) -> None:
    make_run("run")
    lines = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "no"} for i in range(60)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = FOUND.replace(" evaluation.reward_model=null", "") + " data=jsonl data.path=own.jsonl data.test_fraction=0.3"
    followed = "+evaluation.proxies.small={r} +evaluation.policies.small=run"
    assert main_evaluate(f"{own} {followed}") == 2
    assert told().startswith("evaluation.reward_model: auto")
    assert main_evaluate(f"{own} {followed} evaluation.reward_model={{r}}") == 2
    assert told().startswith("evaluation.proxies.small: ")
    assert main_evaluate(f"{own} {followed} evaluation.reward_model={{q}}") == 0
    best, run = tracks()
    assert 9 <= best["prompts"] <= 12 and run["points"][0]["gold"] == run["points"][3]["gold"]
    assert run["points"][0]["gold"] != run["points"][4]["gold"], "marked by the reward model that was named"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("+evaluation.proxies.x={r} evaluation.best_of=4", "evaluation.best_of: 4 "),
        ("+evaluation.proxies.x={r} evaluation.judge=none", "evaluation.judge: none "),
        ("+evaluation.proxies.x={a}", "evaluation.proxies.x: "),
        ("+evaluation.proxies.x=auto", "evaluation.proxies.x: 'auto' "),
        ("+evaluation.policies.x={a}", "evaluation.policies.x: "),
        ("+evaluation.policies.x=unscored", "evaluation.policies.x: "),
        ("+evaluation.policies.x=late", "evaluation.policies.x: "),
        ("+evaluation.proxies.x={r} +evaluation.policies.x=else", "evaluation.policies.x: "),
    ],
)
def test_what_cannot_be_followed_is_refused(
    main_evaluate: Main, make_run: MakeRun, told: Callable[[], str], line: str, said: str
) -> None:
    make_run("unscored", scored=False)
    make_run("late", start=1)
    make_run("else", proxy="0" * 64)
    assert main_evaluate(f"{FOUND} {line}") == 2
    found = told()
    assert found.startswith(said) and "\n" not in found


def test_proxies_choose_from_a_models_samples(main_evaluate: Main, told: Callable[[], str]) -> None:
    line = FOUND.replace("models.sft={a} ", "")
    assert main_evaluate(f"{line} +evaluation.proxies.x={{r}}") == 2
    assert told().startswith("models: ")
