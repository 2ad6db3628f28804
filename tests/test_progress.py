"""Progress: lines where the output is no terminal, a bar on one, nothing of what is soon over."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf import progress
from rlhf.progress import ProgressBar
from rlhf.storage.weights import weights_sha256


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that reports progress says so at its end, however soon that is."""
    monkeypatch.setattr(progress, "QUIET", 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def test_what_is_soon_over_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("reading", 3) as bar:
        bar(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("at_once")
def test_what_lasts_is_told_at_once_now_and_then_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.01)
    said: list[str] = []
    monkeypatch.setattr(ProgressBar, "say", lambda self, ending="": said.append(f"{self.what} {self.counts} {ending}"))
    with ProgressBar("reading", 3) as bar:
        wait_for(lambda: "reading 0/3 " in said)
        bar(2)
        wait_for(lambda: "reading 2/3 " in said)
        bar(3)
    assert said[-1].startswith("reading 3/3 (")


@pytest.mark.usefixtures("at_once")
def test_a_failure_is_no_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressBar, "_show", lambda self: None)
    with pytest.raises(ValueError), ProgressBar("reading", 3):
        raise ValueError
    with ProgressBar("hashing", int(4e9), int(1e9), unit="GB"):
        pass
    said = capsys.readouterr().out
    assert "reading" not in said and said.startswith("hashing 1.0/4.0 GB")


@pytest.mark.usefixtures("at_once")
def test_two_bars_share_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar("steps [1]", 7) as outer, ProgressBar("samples") as inner:
        outer.note = "loss 0.5"
        inner(1, 2)
        wait_for(lambda: all(text in shown.getvalue() for text in ("steps [1]", "0/7", "loss 0.5", "samples", "1/2")))
    assert progress._screen._bars is None


@pytest.mark.usefixtures("at_once")
def test_processes_that_are_not_the_first_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "enabled", False)
    with ProgressBar("reading", 3) as bar:
        bar.say()
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("at_once")
def test_hashing_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(tmp_path / "model.safetensors", "wb") as stream:
        stream.truncate(10**8)
    weights_sha256(tmp_path)
    assert "0.1/0.1 GB" in capsys.readouterr().out


REPORTED = {
    "reward": {
        "reading comparisons",
        "loading",
        "validation",
        "reward 2/2",
        "centring the scores",
        "export",
        "hashing",
    },
    "dpo": {"reference (train)", "reference (val)", "samples 1/1", "dpo 2/2", "KL of samples", "forgetting", "export"},
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("algo", REPORTED)
def test_all_of_a_stage_that_can_last_reports(
    algo: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from train import train

    monkeypatch.chdir(tmp_path)
    line = f"algo={algo} model=hf model.path={models}/a data.limit=40 train.max_steps=2 train.batch_size=4 "
    line += "train.samples=1 rollout.max_new_tokens=8 data.max_length=128 strategy.threads=1 logger=csv "
    line += "hydra.run.dir=run"
    assert train.main(line.split()) == 0
    said = capsys.readouterr().out.splitlines()
    assert not [what for what in REPORTED[algo] if not any(row.startswith(what) for row in said)]
