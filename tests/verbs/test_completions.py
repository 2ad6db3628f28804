"""What was sampled is on disk, and is not sampled again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rlhf.errors import TrainingError
from verbs import completions
from verbs.completions import Kept


def test_answers_are_found_by_another_try_of_the_same_experiment_alone(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    kept = Kept(path, "a" * 8)
    assert kept.find(0, 0, 2) is None
    kept.add(0, 0, ["x\u2028y", ""])
    kept.add(1, 2, ["z"])
    again = Kept(path, "a" * 8)
    assert again.find(0, 0, 2) == ["x\u2028y", ""] and again.find(1, 2, 1) == ["z"]
    assert again.find(0, 0, 3) is None and again.find(0, 2, 1) is None
    assert Kept(path, "b" * 8).find(0, 0, 2) is None
    again.forget()
    assert not path.exists()


def test_a_line_that_was_cut_short_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    Kept(path, "a" * 8).add(0, 0, ["x"])
    with path.open("a") as stream:
        stream.write('{"run": "aaaa')
    kept = Kept(path, "a" * 8)
    kept.add(0, 1, ["y"])
    again = Kept(path, "a" * 8)
    assert again.find(0, 0, 1) == ["x"] and again.find(0, 1, 1) == ["y"]


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "completions.jsonl"
    kept = Kept(path, "a" * 8)
    kept.add(0, 0, ["x"])

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(completions.os, "fsync", full)
    with pytest.raises(TrainingError, match=r"completions\.jsonl.*no space"):
        kept.add(0, 1, ["y"])
    assert Kept(path, "a" * 8).find(0, 0, 1) == ["x"]
