"""How the measurement of active choice reads its points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.labels.choice import needed, show, split

CURVE = [(100.0, 0.6), (200.0, 0.8), (300.0, 0.75), (400.0, 0.95)]


@pytest.mark.parametrize(("target", "expected"), [(0.5, 100), (0.6, 100), (0.7, 150), (0.8, 200), (0.85, 350)])
def test_comparisons_needed_are_read_off_between_points(target: float, expected: float) -> None:
    assert needed(CURVE, target) == pytest.approx(expected)


def test_an_accuracy_that_is_not_reached() -> None:
    assert needed([(100, 0.6), (200, 0.7)], 0.8) is None
    lines = [{"way": "random", "seed": 1, "comparisons": 100, "accuracy": 0.6}]
    assert "–" in show(lines, 0.8)


def test_prompts_are_held_out_by_their_hash(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"question {n}", "responses": []}) for n in range(200)]
    whole = tmp_path / "pool.jsonl"
    whole.write_text("\n".join(lines) + "\n", encoding="utf-8")
    first, held_out = (file.read_text(encoding="utf-8").splitlines() for file in split(whole, tmp_path))
    assert sorted(first + held_out) == sorted(lines)
    assert 20 < len(held_out) < 60
    whole.write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    assert set(split(whole, tmp_path)[1].read_text(encoding="utf-8").splitlines()) == set(held_out)
