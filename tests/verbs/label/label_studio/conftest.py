"""A server that every client reaches, and the command against it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from studio_server import KEY, TOKEN, URL, Exchange, Main, Studio, write

from launch.app import Program
from launch.planner import Point
from rlhf.config import LabelConfig
from verbs.label import label_studio
from verbs.label.label import run_label
from verbs.label.label_studio_api import LabelStudio


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Studio:
    """The server that every client reaches; the working folder has questions for it."""
    found = Studio()
    made = partial(LabelStudio, transport=httpx.MockTransport(found), sleep=lambda seconds: None)
    monkeypatch.setattr(label_studio, "LabelStudio", made)
    monkeypatch.setenv(KEY, TOKEN)
    monkeypatch.chdir(tmp_path)
    write("q1 q2 q3", "r1")
    return found


@pytest.fixture
def exchange(studio: Studio, caplog: pytest.LogCaptureFixture) -> Exchange:
    """`exchange(seed=2)` is `python label.py tool=label-studio path=a.jsonl out=votes seed=2`."""
    caplog.set_level("INFO", "rlhf")
    usual = {"tool": "label-studio", "url": URL, "path": "a.jsonl", "out": "votes"}

    def run(**given: Any) -> None:
        caplog.clear()
        run_label(LabelConfig(**usual | given), {})

    return run


@pytest.fixture
def main(studio: Studio, program_folder: Path) -> Main:
    """The same as a program; returns the exit code."""

    def judge(point: Point, overrides: list[str]) -> None:
        """Judge."""
        run_label(point.config, point.parents)

    line = ["tool=label-studio", f"url={URL}", "path=a.jsonl", "out=votes"]
    return lambda *arguments: Program("label", talk=judge).main([*line, *arguments])
