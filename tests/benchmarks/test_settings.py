"""Two workers in turn, one of them under a setting, and the ratio of their medians."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.measure import Bench
from benchmarks.settings import Setting, against


class Pretended:
    """A worker whose first step takes long; with a setting it is twice as fast."""

    started: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, python: str, module: str, task: dict[str, Any], threads: int, log: Path, variables: Any) -> None:
        self.facts = {"prepares": False}
        self.seconds = iter([9.0, 2.0, 4.0, 6.0] if variables else [9.0, 4.0, 8.0, 9.0])
        Pretended.started.append({"variables": variables, "threads": threads, "keep": task["keep_freed_memory"]})

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def go(self, **order: Any) -> dict[str, Any]:
        return {"seconds": next(self.seconds)}


def test_the_ratio_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.measure.Worker", Pretended)
    bench = Bench("sft", {"examples": []}, {}, 8, 3, 2, tmp_path)
    found = against(bench, Setting({"A": "1"}, keep_freed_memory=False, threads=1))
    assert (found["speed"], found["lowest"], found["highest"]) == (2.0, 1.5, 2.0)
    assert Pretended.started == [
        {"variables": {}, "threads": 2, "keep": True},
        {"variables": {"A": "1"}, "threads": 1, "keep": False},
    ]
