from __future__ import annotations

import csv
from pathlib import Path

from tracking.csv_logger import CSVMetrics


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_row_is_on_disk_at_once(tmp_path: Path) -> None:
    log = CSVMetrics(tmp_path)
    for step in (1, 2, 3):
        log.log_metrics({"train/loss": 1 / step}, step=step)
        assert (tmp_path / "metrics.csv").read_text().endswith("\n")
        assert [row["step"] for row in read(tmp_path)] == [str(s) for s in range(1, step + 1)]
    assert read(tmp_path)[2] == {"step": "3", "train/loss": "0.33333333"}


def test_columns_may_come_later(tmp_path: Path) -> None:
    log = CSVMetrics(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)
    log.log_metrics({"a": 2.0, "b,with comma": 3.0}, step=2)
    log.log_metrics({"b,with comma": 4.0}, step=3)
    assert read(tmp_path) == [
        {"step": "1", "a": "1", "b,with comma": ""},
        {"step": "2", "a": "2", "b,with comma": "3"},
        {"step": "3", "a": "", "b,with comma": "4"},
    ]


def test_one_step_has_one_row(tmp_path: Path) -> None:
    log = CSVMetrics(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)
    log.log_metrics({"a": 2.0}, step=2)
    log.log_metrics({"b": 3.0}, step=2)  # a new column
    log.log_metrics({"a": 4.0}, step=2)  # a known one, again
    log.log_metrics({"a": 5.0}, step=3)
    assert [(row["step"], row["a"], row["b"]) for row in read(tmp_path)] == [
        ("1", "1", ""),
        ("2", "4", "3"),
        ("3", "5", ""),
    ]


def test_restart_forgets_later_steps(tmp_path: Path) -> None:
    log = CSVMetrics(tmp_path)
    for step in range(6):
        log.log_metrics({"a": float(step)}, step=step)
    log.log_metrics({"late": 1.0}, step=5)
    again = CSVMetrics(tmp_path)
    again.restart(3)
    assert [row["step"] for row in read(tmp_path)] == ["0", "1", "2", "3"]
    again.log_metrics({"b": 7.0}, step=3)  # the evaluation of the step that is continued from
    again.log_metrics({"a": 8.0}, step=4)
    rows = read(tmp_path)
    assert [row["step"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert (rows[3]["a"], rows[3]["b"], rows[4]["a"]) == ("3", "7", "8")


def test_restart_without_a_file_makes_an_empty_one(tmp_path: Path) -> None:
    log = CSVMetrics(tmp_path)
    log.restart(0)
    assert read(tmp_path) == []
    log.log_metrics({"a": 1.0}, step=1)
    assert read(tmp_path) == [{"step": "1", "a": "1"}]


def cut(folder: Path, characters: int) -> None:
    file = folder / "metrics.csv"
    file.write_text(file.read_text()[:-characters])


def test_a_last_line_cut_short_is_survived(tmp_path: Path) -> None:
    for how in ("restart", "log"):
        folder = tmp_path / how
        folder.mkdir()
        first = CSVMetrics(folder)
        for step in (1, 2, 3):
            first.log_metrics({"a": step / 7, "b": step / 3}, step=step)
        cut(folder, 5)
        again = CSVMetrics(folder)
        if how == "restart":
            again.restart(3)
        again.log_metrics({"a": 0.5}, step=3)
        assert [row["step"] for row in read(folder)] == ["1", "2", "3"]
        assert read(folder)[1] == {"step": "2", "a": "0.28571429", "b": "0.66666667"}
        assert read(folder)[2] == {"step": "3", "a": "0.5", "b": ""}


def test_a_header_cut_short_is_survived(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,trai")
    log = CSVMetrics(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)
    assert read(tmp_path) == [{"step": "1", "a": "1"}]


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    """It measures the start (step 0) before anything tells the logger to restart."""
    first = CSVMetrics(tmp_path)
    first.log_metrics({"val/loss": 3.0}, step=0)
    for step in (1, 2):
        first.log_metrics({"train/loss": 2.0, "lr": 0.1}, step=step)
    again = CSVMetrics(tmp_path)
    again.log_metrics({"val/loss": 3.0, "val/new": 1.0}, step=0)
    assert read(tmp_path)[1]["lr"] == "0.1", "the earlier process's columns were lost"
    again.restart(0)
    assert read(tmp_path) == [{"step": "0", "val/loss": "3", "val/new": "1"}]
    again.log_metrics({"train/loss": 2.0}, step=1)
    assert [row["step"] for row in read(tmp_path)] == ["0", "1"]
