"""Rounds of a pipeline: what they are written out as, and when they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage_runners import Stages

import launch.pipeline
from launch.pipeline import run_pipeline
from launch.planner import Point
from launch.stages.graph import overrides_of, plan
from launch.stages.rounds import written_out
from rlhf.config import PipelineConfig, StageConfig
from rlhf.errors import ConfigError, TrainingError, WaitsForPeople

ENDS = {"min": 0.5, "end_rounds": True}


def stage(*overrides: str, **more: Any) -> StageConfig:
    return StageConfig(overrides=list(overrides), **more)


def config(rounds: int = 3, **more: Any) -> PipelineConfig:
    """Rounds of three stages, between one in front of them and one after them."""
    return PipelineConfig(
        stages={
            "sft": stage("algo=sft"),
            "ask": stage(
                "seed={seed}",
                "collect.part={round}",
                verb="collect",
                each_round=True,
                parents={"model.init": "previous/ppo | sft", "collect.proxy": "previous/reward"},
                gates={"agreement": {**ENDS, "optional": True}},
            ),
            "reward": stage(
                "algo=reward", each_round=True, parents={"model.init": "sft", "data.path": "all/ask"},
            ),
            "ppo": stage(
                "algo=ppo",
                each_round=True,
                parents={"model.init": "previous/ppo | sft", "algo.reward_model": "reward"},
                gates={"better": {**ENDS, "optional": True}},
            ),
            "evaluate": stage(
                verb="evaluate",
                parents={
                    "models.sft": "sft",
                    "+models.round{round}": "round{round}/ppo",
                    "evaluation.reward_model": "last/reward",
                },
            ),
        },
        rounds=rounds,
        seed=7,
        **more,
    )  # fmt: skip


NAMES = ["ask", "reward", "ppo"]


def in_rounds(*numbers: int) -> list[str]:
    return [f"round{number}/{name}" for number in numbers for name in NAMES]


def test_stages_of_rounds_are_written_out_in_order() -> None:
    assert list(written_out(config(2))) == ["sft", *in_rounds(1, 2), "evaluate"]


def test_parents_are_named_from_where_a_stage_stands() -> None:
    found = written_out(config())
    assert found["round1/ask"].parents == {"model.init": "sft"}, "no round before: no reward model to measure"
    assert found["round3/ask"].parents == {"model.init": "round2/ppo", "collect.proxy": "round2/reward"}
    assert found["round3/reward"].parents["data.path"] == ["round1/ask", "round2/ask", "round3/ask"]
    assert found["round1/reward"].parents == {"model.init": "sft", "data.path": ["round1/ask"]}
    assert found["round2/ppo"].parents == {"model.init": "round1/ppo", "algo.reward_model": "round2/reward"}
    assert found["evaluate"].parents == {
        "models.sft": "sft",
        "+models.round1": "round1/ppo",
        "+models.round2": "round2/ppo",
        "+models.round3": "round3/ppo",
        "evaluation.reward_model": "round3/reward",
    }


def test_each_round_has_its_number_and_a_seed_of_its_own() -> None:
    found = written_out(config())
    assert [found[f"round{n}/ask"].overrides for n in (1, 2, 3)] == [
        ["seed=7", "collect.part=1"],
        ["seed=8", "collect.part=2"],
        ["seed=9", "collect.part=3"],
    ]
    last = written_out(replace(config(), seed=2**32 - 1))["round2/ask"]
    assert last.overrides[0] == "seed=0", "seeds end there"


def test_comparisons_of_all_rounds_come_as_one_list() -> None:
    planned = plan(config(), ["seed=7"], [])
    done = {name: Path("/runs") / name for name in planned.stages}
    overrides = overrides_of("round2/reward", planned, config(), done)
    assert "data.path=['/runs/round1/ask/preferences.jsonl','/runs/round2/ask/preferences.jsonl']" in overrides
    assert "data.name=ask" in overrides, "the name of a round is none of a directory"


def test_another_round_changes_nothing_of_those_before() -> None:
    """So that rounds=4 later finds the first three finished."""
    three, four = written_out(config(3)), written_out(config(4))
    shared = ["sft", *in_rounds(1, 2, 3)]
    assert {name: three[name] for name in shared} == {name: four[name] for name in shared}


def test_a_key_is_for_all_rounds_or_for_one_which_counts_more() -> None:
    planned = plan(config(), [], ["round2/ppo.algo.lr=1", "ppo.algo.lr=2", "+round3/ppo.algo.kl_coef=3"])
    assert planned.own["round1/ppo"] == ["algo.lr=2"]
    assert planned.own["round2/ppo"] == ["algo.lr=2", "algo.lr=1"], "the last one counts"
    assert planned.own["round3/ppo"] == ["algo.lr=2", "+algo.kl_coef=3"]
    with pytest.raises(ConfigError, match=r"^round4/ppo.algo.lr: .*did you mean round"):
        plan(config(), [], ["round4/ppo.algo.lr=1"])


def test_a_finished_run_takes_the_place_of_a_stage(tmp_path: Path) -> None:
    given = config()
    given.stages = {"base": stage("algo=pretrain")} | given.stages
    given.stages["sft"] = stage(parents={"model.init": "base"}, run=str(tmp_path))
    planned = plan(given, [], [])
    assert list(planned.stages) == [*in_rounds(1, 2, 3), "evaluate"], "nothing needs base any more"
    assert planned.given == {"sft": tmp_path}
    assert f"model.init='{tmp_path}'" in overrides_of("round1/ask", planned, given, dict(planned.given))
    given.stages["sft"].run = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"^stages\.sft\.run: .*nowhere"):
        plan(given, [], [])


def wrong(**changes: Any) -> PipelineConfig:
    given = config()
    given.stages |= changes
    return given


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (PipelineConfig(stages={"sft": stage()}, rounds=2), "rounds: 2"),
        (wrong(again=stage(each_round=True)), r"stages\.again\.each_round"),
        (wrong(**{"a/b": stage()}), "stages.a/b"),
        (wrong(sft=stage(gates={"x": ENDS})), r"stages\.sft\.gates\.x: end_rounds"),
        (wrong(ask=stage(each_round=True, run=".")), r"stages\.ask\.run"),
        (
            wrong(evaluate=stage(parents={"models.a": "last/nobody"})),
            "stages.evaluate.parents.models.a: round3/nobody",
        ),
        (
            wrong(evaluate=stage(parents={"models.a": "all/ppo"})),
            "stages.evaluate.parents.models.a: only data.path",
        ),
    ],
)
def test_refusals(given: PipelineConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}"):
        planned = plan(given, [], [])
        overrides_of("evaluate", planned, given, {name: Path(".") for name in planned.stages})


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(tmp_path)


@pytest.fixture
def pipeline(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a configuration, without composing its stages."""
    monkeypatch.setattr(launch.pipeline, "check", lambda *_: set())
    monkeypatch.setattr(launch.pipeline, "show_report", lambda *_: None)
    monkeypatch.setattr(launch.pipeline, "group_pipeline", lambda *_: None)
    return lambda given: run_pipeline(Point(given, {}, ""), [], [], stages)


def test_all_rounds_run(pipeline: Callable[..., None], stages: Stages) -> None:
    pipeline(config(2))
    assert stages.names == ["sft", *in_rounds(1, 2), "evaluate"]


def test_a_reward_model_that_is_out_of_date_ends_the_rounds_before_training_continues(
    pipeline: Callable[..., None], stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.finals["round2/ask"] = {"agreement": 0.4}
    pipeline(config())
    assert stages.names == ["sft", *in_rounds(1), "round2/ask", "evaluate"]
    evaluated = stages.calls[-1][1]
    assert any(item.startswith("+models.round1=") for item in evaluated)
    assert not any(item.startswith("+models.round2=") for item in evaluated)
    assert f"evaluation.reward_model='{stages.root}/run-3'" in evaluated, "that of the last whole round"
    table = capsys.readouterr().out.split("\nstage ")[-1]
    assert [line.split()[0] for line in table.splitlines()[1:-1]] == stages.names, "what has run is listed"


def test_a_round_that_is_done_when_its_last_gate_is_missed_counts(
    pipeline: Callable[..., None], stages: Stages
) -> None:
    stages.finals["round2/ppo"] = {"better": 0.45}
    pipeline(config())
    assert stages.names == ["sft", *in_rounds(1, 2), "evaluate"]
    assert any(item.startswith("+models.round2=") for item in stages.calls[-1][1])


def test_without_a_whole_round_there_is_nothing_to_evaluate(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.finals["round1/ask"] = {"agreement": 0.4}
    with pytest.raises(TrainingError, match=r"^stage round1/ask missed its gate: agreement is 0\.4"):
        pipeline(config())


def test_open_gates_end_no_rounds(pipeline: Callable[..., None], stages: Stages) -> None:
    stages.final = {"agreement": 0.1, "better": 0.1}
    pipeline(config(2, gates=False))
    assert len(stages.names) == 8


def test_it_stops_where_people_have_to_judge_and_continues_after_them(
    pipeline: Callable[..., None], stages: Stages
) -> None:
    stages.waiting = {"round1/ask"}
    with pytest.raises(WaitsForPeople, match=r"^stage round1/ask waits for people"):
        pipeline(config(1))
    assert stages.names == ["sft", "round1/ask"]
    stages.waiting.clear()
    stages.names.clear()
    pipeline(config(1))
    assert stages.names == ["sft", *in_rounds(1), "evaluate"]


def test_a_dry_run_prints_every_command(
    pipeline: Callable[..., None], stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline(config(1, dry_run=True))
    said = capsys.readouterr().out.splitlines()
    assert not stages.names and len(said) == 5
    assert said[3].startswith("4/5 round1/ppo: python train.py algo=ppo ") and "<round1/reward>" in said[3]


def test_rounds_may_have_stages_beside_each_other(
    pipeline: Callable[..., None], stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that builds on several waits for all of them."""
    given = config(2, parallel=2)
    given.stages["other"] = stage(each_round=True, parents={"data.path": "all/ask"})
    given.stages["evaluate"] = given.stages.pop("evaluate")
    monkeypatch.setattr(launch.pipeline, "check", lambda planned, _: set(planned.stages) - {"sft"})
    pipeline(given)
    assert ["round2/reward", "round2/other"] in stages.at_once
    assert sorted(stages.names) == sorted(["sft", *in_rounds(1, 2), "round1/other", "round2/other", "evaluate"])
