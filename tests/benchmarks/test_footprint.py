"""The planner's memory against what processes took."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.footprint import CONFIGURATIONS, compare

pytestmark = pytest.mark.ci

QUICK = "sft, tiny"
TRIED = (
    QUICK,
    "dpo, 4 × 256",
    "reward, GPT-2 124M, checkpointing",
    "ppo, tiny, shared critic",
    "sft, GPT-2 124M, fsdp on 2",
)
"""One of each kind; `python -m benchmarks.footprint` does the rest, which take ten minutes."""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own measure of the highest resident memory")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in TRIED]
)
def test_the_plan_is_within_15_percent(name: str, tmp_path: Path) -> None:
    planned, measured = compare(CONFIGURATIONS[name], tmp_path)
    assert planned == pytest.approx(measured, rel=0.15)
