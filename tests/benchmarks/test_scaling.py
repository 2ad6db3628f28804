"""What is measured along each axis, and what is drawn of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.plots import draw, lines
from benchmarks.scaling import lengths, points


def test_lengths_keep_their_shares() -> None:
    assert lengths("dpo") == [124, 41, 51]
    assert lengths("dpo", 350) == [248, 82, 102]
    assert lengths("sft", 350) == [248, 82]
    assert lengths("ppo", 350) == [248]


def test_one_size_changes_at_a_time() -> None:
    found = points("dpo", 8, {"n_layer": 2}, ["batch", "length", "model"])
    usual = {"batch": 8, "lengths": [124, 41, 51], "sizes": {"n_layer": 2}}
    own = {"batch": "batch", "length": "lengths", "model": "sizes"}
    for sweep, changed in own.items():
        some = [point for point in found if point["sweep"] == sweep]
        assert len({str(point[changed]) for point in some}) == len(some) > 3
        assert all(point[name] == usual[name] for point in some for name in usual if name != changed)


def point(sweep: str, x: Any, weights: int = 100) -> dict[str, Any]:
    size = x if sweep == "batch" else 8
    return {
        "sweep": sweep,
        "x": x,
        "weights": weights,
        "examples": size,
        "examples_per_second": {"ours": 4.0},
        "useful": {"preparation": 10.0, "step": 30.0},
        "peak": 80.0,
        "ours": {"memory": 3_000_000_000},
    }


def test_lines_go_from_small_to_large() -> None:
    found = [point("batch", 8), point("batch", 2), point("model", "a", 70), point("model", "b", 50)]
    assert lines(found, "batch") == {
        "place": [2, 8],
        "seconds": [0.5, 2.0],
        "least": [0.5, 0.5],
        "gigabytes": [3.0, 3.0],
    }
    assert lines(found, "model")["place"] == [50, 70]


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install -e '.[bench]'")
    out = tmp_path / "plot.svg"
    draw({"stage": "dpo", "points": [point("batch", 2), point("batch", 4), point("length", 64)]}, out)
    assert out.stat().st_size > 5000
