"""Run directories from strangers: nothing is written outside of them, and nothing in them is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rlhf.errors import ConfigError
from rlhf.runs import Summary, inspect, open_run
from rlhf.storage.inside import check_inside, no_links


def outside(tmp_path: Path) -> Path:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    return victim


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    (directory / "checkpoints").mkdir(parents=True)
    Summary(status="interrupted", id="a" * 8).write(directory)
    return directory


NAMES = (
    "train.log",
    "metrics.csv",
    "metrics.csv.part",
    "samples.jsonl",
    "summary.json",
    "config.yaml",
    ".lock",
    "console.log",
    "checkpoints/step-00000002.part",
    "model/config.json",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resume", [True, False])
def test_a_link_is_refused_before_anything_is_opened(tmp_path: Path, run: Path, name: str, resume: bool) -> None:
    victim, file = outside(tmp_path), run / name
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to(victim)
    for use in (lambda: inspect(run, "a" * 8, resume), lambda: open_run(run, "a" * 8, resume)):
        with pytest.raises(ConfigError) as caught:
            use()
        assert str(file) in str(caught.value)
    assert victim.read_text() == "mine"
    assert not (run / ".lock").is_file() or name == ".lock"


@pytest.mark.parametrize("name", ["checkpoints", "model", "wandb", "report_files"])
def test_a_folder_elsewhere_is_refused(tmp_path: Path, run: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if (run / name).exists():
        (run / name).rmdir()
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=name):
        inspect(run, "a" * 8, True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_log_alone_is_checked_too(tmp_path: Path) -> None:
    """A directory with nothing but a log counts as new."""
    directory = tmp_path / "new"
    directory.mkdir()
    (directory / "train.log").symlink_to(outside(tmp_path))
    with pytest.raises(ConfigError, match=r"train\.log"):
        inspect(directory, "a" * 8, False)


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", ".lock", "train.log", "checkpoints/x"])
def test_pipes_and_sockets_are_refused_and_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(ConfigError, match="FIFO"):
        inspect(run, "a" * 8, True)


def test_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # their addresses are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(ConfigError, match="socket"):
            check_inside(tmp_path)


@pytest.mark.parametrize(
    ("name", "refused"), [("train.log", True), ("samples.jsonl", True), ("model.safetensors", False)]
)
def test_second_names_of_files_that_are_written_in_place(tmp_path: Path, run: Path, name: str, refused: bool) -> None:
    os.link(outside(tmp_path), run / name)
    if refused:
        with pytest.raises(ConfigError, match=name):
            check_inside(run)
    else:
        check_inside(run)


def test_a_folder_of_wandb_that_is_a_link_is_refused_even_within_the_run(run: Path) -> None:
    (run / "wandb").symlink_to("checkpoints")
    with pytest.raises(ConfigError, match="wandb"):
        check_inside(run)


def test_wandb_links_to_its_own_and_brings_no_settings(tmp_path: Path, run: Path) -> None:
    (run / "wandb" / "run-1").mkdir(parents=True)
    (run / "wandb" / "latest-run").symlink_to("run-1")
    (run / "wandb" / "debug.log").symlink_to("run-1/logs/not-there-any-more.log")
    check_inside(run)
    (run / "wandb" / "settings").write_text("[default]\nbase_url = https://elsewhere.example\n")
    with pytest.raises(ConfigError, match="settings"):
        check_inside(run)
    (run / "wandb" / "settings").unlink()
    (run / "wandb" / "logs").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="logs"):
        check_inside(run)
    (tmp_path / "run-beside").mkdir()  # its path begins with the run's
    (run / "wandb" / "logs").unlink()
    (run / "wandb" / "logs").symlink_to(tmp_path / "run-beside")
    with pytest.raises(ConfigError, match="logs"):
        check_inside(run)


def test_wandb_links_to_its_log_in_the_cache_and_to_no_other_file(tmp_path: Path, run: Path) -> None:
    logs, cache = run / "wandb" / "offline-run-1" / "logs", tmp_path / "cache" / "wandb" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(cache / "core-debug-20261128_125017.log")  # dangles once the cache is emptied
    check_inside(run)
    for name, target in (
        ("debug-core.log", cache / "bashrc"),
        ("debug-core.log", tmp_path / "core-debug-1.log"),
        ("other.log", cache / "core-debug-1.log"),
    ):
        (logs / "debug-core.log").unlink(missing_ok=True)
        (logs / name).symlink_to(target)
        with pytest.raises(ConfigError, match=name):
            check_inside(run)


def test_a_run_may_be_reached_by_a_link(tmp_path: Path, run: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    check_inside(tmp_path / "link")
    assert inspect(tmp_path / "link", "a" * 8, True).value == "resumable"


def test_what_is_opened_to_write_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(outside(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        for mode in ("a", "a+"):
            with pytest.raises(OSError), open(tmp_path / name, mode, opener=no_links):
                pass
    with open(tmp_path / "new", "a", opener=no_links) as stream:
        stream.write("x")
    assert (tmp_path / "new").read_text() == "x" and (tmp_path / "victim").read_text() == "mine"
