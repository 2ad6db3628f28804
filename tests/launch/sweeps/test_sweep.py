"""What is left of a sweep: a table that knows every point, and a report that can't do harm."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlhf.config import TrainConfig
from rlhf.errors import DataError
from rlhf.runs import Summary

pytestmark = pytest.mark.ci

Main = Callable[[str], int]


def table(tmp_path: Path, name: str = "comparison.csv") -> list[dict[str, str]]:
    (file,) = tmp_path.glob(f"outputs/multirun/*/{name}")
    with file.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def accuracy(config: TrainConfig) -> dict[str, float]:
    beta: float = config.algo.beta  # type: ignore[attr-defined]
    return {"val/accuracy": beta / 2 + config.seed / 100, "val/loss": 0.5}


def test_one_row_for_every_point_however_it_ended(
    main: Main, stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.final = accuracy
    stage.errors = {2: DataError("no such thing"), 3: ZeroDivisionError()}
    assert main("-m algo=dpo algo.beta=0.5,1 seed=1,2,3") == 1
    rows = table(tmp_path)
    assert [(row["point"], row["algo.beta"], row["seed"], row["status"]) for row in rows] == [
        ("0", "0.5", "1", "finished"),
        ("1", "0.5", "2", "failed"),
        ("2", "0.5", "3", "failed"),
        ("3", "1", "1", "finished"),
        ("4", "1", "2", "failed"),
        ("5", "1", "3", "failed"),
    ]
    assert "algo" not in rows[0], "what all share is no column"
    assert [row["val/accuracy"] for row in rows] == ["0.26", "", "", "0.51", "", ""]
    assert rows[1]["error"] == "no such thing" and rows[2]["error"] == "ZeroDivisionError: "
    assert all(row["directory"].startswith(f"{row['point']}-") for row in rows)
    told = capsys.readouterr()
    assert "point 4 (algo.beta=1 seed=2): no such thing" in told.err
    lines = [line.split() for line in told.out.splitlines()]
    assert ["point", "algo.beta", "seed", "status", "steps", "val/accuracy", "val/loss", "time"] in lines
    assert ["3", "1", "1", "finished", "1", "0.51", "0.5", "0", "s"] in lines
    assert "dpo · tiny on assistant · beta=0.5, 1 · seed=1, 2, 3" in map(str.strip, told.out.splitlines())


def test_means_over_seeds(main: Main, stage: Any, tmp_path: Path) -> None:
    stage.final = accuracy
    assert main("-m algo=dpo algo.beta=0.5,1 seed=1,3") == 0
    rows = table(tmp_path, "comparison-seeds.csv")
    assert [(row["algo.beta"], row["runs"]) for row in rows] == [("0.5", "2"), ("1", "2")]
    assert float(rows[0]["val/accuracy"]) == pytest.approx(0.27)
    # The two deviate by 0.01 from their mean: √(2·0.01²/1)/√2.
    assert float(rows[0]["val/accuracy ± standard error"]) == pytest.approx(0.01)


def test_a_continued_sweep_compares_all_its_points(main: Main, stage: Any, tmp_path: Path) -> None:
    stage.final = accuracy
    stage.errors = {2: KeyboardInterrupt()}
    assert main("-m algo=dpo algo.beta=0.5 seed=1,2,3") == 130
    assert [row["status"] for row in table(tmp_path)] == ["finished", "interrupted"], "as far as it came"
    stage.errors.clear()
    assert main("-m algo=dpo algo.beta=0.5 seed=1,2,3 resume=true") == 0
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 3
    assert len(stage.calls) == 4, "what is finished is not done again"


def test_objectives_lead_the_table(main: Main, stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stage.final = lambda config: {"val/loss": 2.0, "train/loss": 1.0, "val/accuracy": 0.5}
    assert main("-m seed=1,2 train.objective=[train/loss]") == 0
    assert "steps   train/loss   val/accuracy   val/loss" in capsys.readouterr().out


def test_an_objective_that_is_none_fails_its_point(main: Main, stage: Any, told: Callable[[], str]) -> None:
    stage.final = lambda config: {"val/loss": 2.0}
    assert main("-m seed=1 train.objective=[val/los]") == 2
    assert (
        told()
        == "point 0 (seed=1 train.objective=[val/los]): train.objective: val/los is no metric of this run; "
        + ("did you mean val/loss?")
    )


@pytest.mark.parametrize("fails", [False, True])
def test_a_report_is_written_and_can_do_no_harm(
    main: Main, stage: Any, monkeypatch: pytest.MonkeyPatch, fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def write_report(path: Path, out: Path | None = None) -> Path:
        asked.append(path)
        if fails:
            raise ValueError("no plot")
        return path / "report.html"

    module = ModuleType("verbs.report")
    module.write_report = write_report  # type: ignore[attr-defined]
    module.__spec__ = type(sys.__spec__)("verbs.report", None)  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "verbs.report", module)
    stage.errors = {2: DataError("no such thing")}
    assert main("-m seed=1,2") == 2
    assert asked == [stage.calls[0][1].dir.parent]
    told = capsys.readouterr()
    if fails:
        assert "no report was written: ValueError: no plot" in told.err
    else:
        assert f"report: outputs/multirun/{asked[0].name}/report.html" in told.out


def test_an_experiment_may_be_a_sweep(main: Main, stage: Any, tmp_path: Path) -> None:
    """It says so itself, so that -m is not needed; a run of its points by hand is still one run."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 4,5\n"
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text(text)
    assert main("--config-dir mine experiment=x") == 0
    assert stage.seeds == [4, 5]
    assert main("--config-dir mine experiment=x seed=6 hydra.mode=RUN hydra.run.dir=one") == 0
    assert stage.seeds == [4, 5, 6] and Summary.read(tmp_path / "one").status == "finished"


def test_the_kl_sweep(main: Main, stage: Any) -> None:
    for algo in ("sft", "reward"):
        assert main(f"algo={algo}") == 0
    stage.calls.clear()
    stage.final = lambda config: {"val/score": 1.0, "val/kl": 2.0}
    assert main("-m experiment=kl-sweep seed=1") == 0
    assert [(config.algo.kl_coef, config.seed) for config, _, _ in stage.calls] == [
        (kl_coef, 1) for kl_coef in (0.02, 0.05, 0.1, 0.2)
    ]
    parents = {tuple(run.parents[name].dir for name in sorted(run.parents)) for _, run, _ in stage.calls}
    assert len(parents) == 1
