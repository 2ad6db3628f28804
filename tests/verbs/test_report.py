"""`python report.py`, and the reports that other programs write when they are done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.app import Program
from launch.pipeline import Plan, show_report
from launch.planner import Point
from rlhf.config import StageConfig
from rlhf.runs import Summary
from verbs.report import run_report, try_report, write_report

Main = Callable[..., int]


def report(point: Point, overrides: list[str]) -> None:
    """Write a page."""
    run_report(point.config)


@pytest.fixture
def main(program_folder: Path) -> Main:
    """`main("path=run")` is `python report.py path=run`; returns the exit code."""
    return lambda *arguments: Program("report", talk=report).main(list(arguments))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    Summary(status="finished", algo="sft", model="tiny", data="assistant").write(folder)
    (folder / "metrics.csv").write_text("step,val/loss\n0,2\n10,1\n")
    return folder


def test_a_page_beside_the_run(main: Main, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="rlhf"):
        assert main("path=run", "language=zh") == 0
    assert 'data-language="zh"' in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "report_files" / "curves.csv").exists()
    assert "report: run/report.html" in caplog.text


def test_elsewhere(main: Main, run: Path) -> None:
    assert main("path=run", "out=deep/page.html", "files=false") == 0
    assert Path("deep", "page.html").exists() and not Path("deep", "report_files").exists()
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "path: missing; pass path=DIR"),
        (["path=nowhere"], "nowhere is not a folder"),
        (["path=."], "holds neither runs nor evaluations"),
        (["path=run", "language=fr"], "language: 'fr' is not one of en | zh"),
        (["path=run", "pgn=true"], "pgn: unknown key; did you mean png?"),
    ],
)
def test_refusals(main: Main, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(*arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told and len(told.splitlines()) == 1


@pytest.mark.parametrize("out", ["run", "run/metrics.csv/x/page.html"])
def test_where_a_report_can_not_go(main: Main, run: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("path=run", f"out={out}") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("out: ") and str(Path(out).parent.name) in told[0]
    assert not (run / "report.html").exists()


def test_a_report_that_fails_is_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "evaluation.json").write_text("[]")
    with caplog.at_level("WARNING", logger="rlhf"):
        assert try_report(run) is None
    assert "no report of" in caplog.text


def test_the_end_of_a_pipeline(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {"sft": StageConfig(), "evaluate": StageConfig(verb="evaluate")}
    show_report(Plan({"sft": stages["sft"]}, [], {}), {"sft": run})
    assert f"report: {run / 'report.html'}" in capsys.readouterr().out
    folder = tmp_path / "evaluate"
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps({"models": {"sft": {"run": str(run), "score": 1.0}}}))
    write_report(folder)
    show_report(Plan(stages, [], {}), {"sft": run, "evaluate": folder})
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out
    show_report(Plan({}, [], {}), {})
    assert capsys.readouterr().out == ""


def test_a_lone_surrogate_in_a_run_reaches_the_page(tmp_path: Path) -> None:
    """JSON can hold one, and no UTF-8 file can."""
    Summary(status="finished", algo="sft", model="\ud800x").write(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,2.5\n2,2.0\n")
    page = write_report(tmp_path)
    assert "?x" in page.read_text(encoding="utf-8")
