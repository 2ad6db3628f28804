"""Searches by Optuna: ranges, objectives, failures, and going on after a kill as if nothing had been."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.sweeps.search_space import Parameter, split
from rlhf.config.objective import maximised
from rlhf.errors import ConfigError, DataError

pytestmark = pytest.mark.ci

pytest.importorskip("optuna", reason="optuna is not installed; pip install 'rlhf-lab[optuna]'")

Main = Callable[[str], int]
LINE = "-m hydra/sweeper=optuna hydra.sweeper.n_trials=4 algo.lr=tag(log,interval(1e-5,1e-1))"


def bowl(config: Any) -> dict[str, float]:
    """Smallest at a learning rate of 1e-3."""
    return {"val/loss": (math.log10(config.algo.lr) + 3) ** 2, "val/kl": -math.log10(config.algo.lr)}


def result(tmp_path: Path) -> dict[str, Any]:
    (file,) = tmp_path.glob("outputs/multirun/*/optimization_results.yaml")
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def tried(stage: Any) -> list[float]:
    return [config.algo.lr for config, _, _ in stage.calls]


class TestSpace:
    def test_hydras_ranges(self) -> None:
        parameters, fixed = split(
            ["a=interval(1,5)", "b=tag(log,interval(0.1,1))", "c=int(interval(1,5))", "d=range(1,9,2)", "e=x,y", "f=3"]
        )
        assert parameters == (
            Parameter("a", 1.0, 5.0),
            Parameter("b", 0.1, 1.0, log=True),
            Parameter("c", 1, 5),
            Parameter("d", 1, 7, step=2),
            Parameter("e", choices=("x", "y")),
        )
        assert fixed == ("f=3",)
        assert [item.is_whole for item in parameters[:4]] == [False, False, True, True]

    def test_factors_of_what_the_key_is(self) -> None:
        (found,), _ = split(["a=tag(log,relative,interval(0.3,3))"])
        assert found == Parameter("a", 0.3, 3.0, log=True, relative=True)
        assert found.at(5e-7) == Parameter("a", 1.5e-7, 1.5e-6, log=True)
        assert Parameter("a", 1.0, 5.0).at(7) == Parameter("a", 1.0, 5.0), "only where it is asked for"
        with pytest.raises(ConfigError, match="a: None can't be multiplied"):
            found.at(None)

    def test_the_last_word_holds(self) -> None:
        assert split(["a=interval(1,5)", "b=1", "a=2", "b=1,2"]) == ((Parameter("b", choices=("1", "2")),), ("a=2",))

    @pytest.mark.parametrize("text", ["a=interval(5,1)", "a=interval(1,1)", "a=tag(log,interval(0,1))"])
    def test_impossible_ranges(self, text: str) -> None:
        with pytest.raises(ConfigError, match="an interval needs two numbers, the smaller one first"):
            split([text])


def test_which_way_is_up() -> None:
    up = ["val/score", "val/accuracy", "val/total_reward", "policy/entropy"]
    down = ["val/loss", "val/kl", "objective/kl", "val/bits_per_byte", "forgetting", "val/calibration_error"]
    assert all(map(maximised, up)) and not any(map(maximised, down))


def test_a_search_tries_what_pays(main: Main, stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.final = bowl
    assert main(LINE.replace("=4", "=10") + " hydra.sweeper.sampler_options.n_startup_trials=4") == 0
    rates = tried(stage)
    assert len(set(rates)) == 10 and all(1e-5 <= rate <= 1e-1 for rate in rates)
    misses = [abs(math.log10(rate) + 3) for rate in rates]
    assert sum(misses[4:]) / 6 < sum(misses[:4]) / 4, "after four at random it knows more"
    best = min(range(10), key=lambda trial: misses[trial])
    (row,) = result(tmp_path)["best"]
    assert row["trial"] == best and row["values"]["val/loss"] == pytest.approx(misses[best] ** 2)
    out = capsys.readouterr().out
    assert "search: minimize val/loss; 0 trials of 10 have a result" in out and f"best: trial {best}  algo.lr=" in out
    assert len(list(tmp_path.glob("outputs/multirun/*/comparison.csv"))) == 1


def test_two_objectives(main: Main, stage: Any, tmp_path: Path) -> None:
    stage.final = lambda config: {"val/score": config.algo.lr, "val/kl": float(config.train.batch_size)}
    line = LINE.replace("=4", "=5") + " train.batch_size=choice(4,8) train.objective=[val/score,val/kl]"
    assert main(line) == 0
    content = result(tmp_path)
    assert content["objectives"] == {"val/score": "maximize", "val/kl": "minimize"}
    found = [(row["values"]["val/score"], row["values"]["val/kl"]) for row in content["best"]]
    points = [(config.algo.lr, float(config.train.batch_size)) for config, _, _ in stage.calls]
    front = [p for p in points if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)]
    assert sorted(found) == sorted(front) and len(front) < len(points)


def test_a_search_that_was_killed_tries_what_it_would_have_tried(main: Main, stage: Any, tmp_path: Path) -> None:
    stage.final = bowl
    assert main(f"{LINE} hydra.sweep.dir=whole") == 0
    whole = tried(stage)
    stage.calls.clear()
    calls = 0

    def third() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    stage.within = third
    assert main(LINE) == 130
    stage.within = lambda: None
    assert main(f"{LINE} resume=true") == 0
    rates = tried(stage)
    assert rates == [*whole[:3], *whole[2:]], "the third continues from where it stopped"
    assert [run.resumed for _, run, _ in stage.calls] == [False, False, False, True, False]
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    assert {run.dir.parent for _, run, _ in stage.calls} == {sweep}
    assert main(f"{LINE} resume=true") == 0
    assert main(f"{LINE} hydra.sweeper.n_trials=5 resume=true") == 0, "and it may be extended"
    assert len(stage.calls) == 6


def test_a_failed_trial_is_named_and_stops_nobody(main: Main, stage: Any, told: Callable[[], str]) -> None:
    stage.final = bowl
    calls = 0

    def second() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DataError("no such thing")

    stage.within = second
    assert main(LINE) == 2
    assert len(stage.calls) == 4
    assert told().startswith(f"point 1 (algo.lr={tried(stage)[1]:.6g}): no such thing")
    assert main(f"{LINE} resume=true") == 0, "one more makes up for it"
    assert len(stage.calls) == 5


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("seed=1", "--multirun: nothing to search; give ranges"),
        ("algo.lr=interval(0.1,2)", "algo.lr: 2 is out of range"),
        ("train.batch_size=choice(4,0)", "train.batch_size: 0 is out of range"),
        ("algo.lr=interval(0.1,0.2) hydra.sweeper.directions=[up]", "hydra.sweeper.directions: 'up' is not one of"),
        ("algo.lr=interval(0.1,0.2) hydra.sweeper.directions=[minimize,minimize]", "directions: 2 for 1 objectives"),
        ("algo.lr=interval(0.1,0.2) hydra.sweeper.sampler=Tpe", "hydra.sweeper.sampler: Tpe is not one of"),
        ("algo.lr=interval(0.1,0.2) +hydra.sweeper.sampler_options.x=1", "hydra.sweeper.sampler: TPESampler: "),
    ],
)
def test_refusals(main: Main, stage: Any, told: Callable[[], str], line: str, sentence: str) -> None:
    assert main(f"-m hydra/sweeper=optuna {line}") == 2
    assert sentence in told() and stage.calls == []


def test_folders_are_not_mixed_up(main: Main, stage: Any, told: Callable[[], str]) -> None:
    stage.final = bowl
    assert main(f"{LINE} hydra.sweep.dir=here") == 0
    told()
    assert main(f"{LINE} hydra.sweep.dir=here") == 2
    assert "holds this search; pass resume=true" in told()
    assert main(f"{LINE} hydra.sweep.dir=here seed=7 resume=true") == 2
    assert "holds another search" in told()


def test_the_preset(main: Main, stage: Any, tmp_path: Path) -> None:
    for algo in ("sft", "reward"):
        assert main(f"algo={algo}") == 0
    stage.final = lambda config: {"val/score": config.algo.kl_coef, "val/kl": config.algo.lr}
    assert main("experiment=kl-search hydra.sweeper.n_trials=2") == 0
    assert result(tmp_path)["objectives"] == {"val/score": "maximize", "val/kl": "minimize"}
    assert {config.algo.name for config, _, _ in stage.calls[2:]} == {"ppo"} and len(stage.calls) == 4
    assert all(0.3 <= rate / 1.5e-4 <= 3 for rate in tried(stage)[2:]), "around the rate of tiny"


def test_the_preset_searches_around_the_rate_of_the_model(main: Main, stage: Any) -> None:
    model, rate = "model=gpt2 model.init=random model.path=null", 1e-4
    for algo in ("sft", "reward"):
        assert main(f"algo={algo} {model}") == 0
    stage.final = lambda config: {"val/score": config.algo.kl_coef, "val/kl": config.algo.lr}
    assert main(f"experiment=kl-search hydra.sweeper.n_trials=2 {model} model.adapter=lora") == 0
    assert len(set(tried(stage)[2:])) == 2 and all(0.3 <= found / rate <= 3 for found in tried(stage)[2:])
