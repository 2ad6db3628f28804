"""Threads that wait sleep soon, unless the user chose otherwise or PyTorch has made up its mind."""

from __future__ import annotations

import os
import sys

import pytest

from launch import waiting
from launch.waiting import wait_briefly


@pytest.mark.parametrize(
    ("chosen", "loaded", "found"),
    [({}, False, "6000"), ({}, True, None), ({"OMP_WAIT_POLICY": "ACTIVE"}, False, None),
     ({"GOMP_SPINCOUNT": "0"}, False, "0")],
)  # fmt: skip
def test_threads_wait_briefly(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], loaded: bool, found: str | None
) -> None:
    for name in waiting.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "torch", sys) if loaded else monkeypatch.delitem(sys.modules, "torch", False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 3.0, 3.0))
    wait_briefly()
    turns = os.environ.pop("GOMP_SPINCOUNT", None)
    assert turns == found


@pytest.mark.parametrize(("load", "found"), [(0.1, "6000"), (1.2, "0"), (None, "6000")])
def test_where_others_run_threads_sleep_at_once(
    monkeypatch: pytest.MonkeyPatch, load: float | None, found: str
) -> None:
    def loads() -> tuple[float, float, float]:
        if load is None:
            raise OSError("unobtainable")
        return load, 0.0, 0.0

    for name in waiting.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch", False)
    monkeypatch.setattr(os, "getloadavg", loads)
    wait_briefly()
    assert os.environ.pop("GOMP_SPINCOUNT", None) == found
