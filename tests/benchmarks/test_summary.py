"""The arithmetic from seconds to ratios, and the table."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from benchmarks.summary import Comparison, Side, Useful, table

OURS = Side(preparation=1.0, seconds=[1.0, 3.0, 2.0], memory=2_000_000_000)
PEER = Side(preparation=0.0, seconds=[8.0, 30.0, 12.0], memory=6_000_000_000)
COMPARISON = Comparison("dpo", "default", 8, 6, OURS, PEER, Useful(preparation=3.0, step=9.0), peak=10.0)


def test_rates_and_ratio_are_of_medians_with_the_preparation() -> None:
    assert COMPARISON.rate(OURS) == 6 / 3 and COMPARISON.rate(PEER) == 6 / 12
    assert COMPARISON.ratio == 12 / 3


def test_the_spread_is_of_blocks() -> None:
    assert COMPARISON.spread == (8 / 2, 30 / 4)


def test_memory_and_shares_of_the_peak() -> None:
    assert COMPARISON.memory_ratio == pytest.approx(1 / 3)
    assert COMPARISON.fraction == pytest.approx((3 + 9) / 3 / 10)
    assert COMPARISON.step_fraction == pytest.approx(9 / 2 / 10)


def test_the_record_is_json_with_what_follows_from_it() -> None:
    record = json.loads(json.dumps(COMPARISON.record()))
    assert record["ratio"] == 4 and record["spread"] == [4, 7.5]
    assert record["ours"]["seconds"] == OURS.seconds
    assert record["examples_per_second"] == {"ours": 2, "peer": 0.5}


def shown(comparison: Comparison) -> str:
    console = Console(width=140, file=io.StringIO())
    console.print(table([comparison], "comparisons"))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_table() -> None:
    row = next(line for line in shown(COMPARISON).splitlines() if "default" in line)
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells == ["dpo", "default ×8", "2", "0.5", "4.00 (4.00–7.50)", "2.0", "6.0", "40%"]


def test_ours_alone() -> None:
    alone = dataclasses.replace(COMPARISON, peer=None)
    assert alone.ratio is None and alone.spread is None and alone.memory_ratio is None
    assert json.loads(json.dumps(alone.record()))["examples_per_second"]["peer"] is None
    row = next(line for line in shown(alone).splitlines() if "dpo" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["dpo", "–", "2", "–", "–", "2.0", "–", "40%"]
