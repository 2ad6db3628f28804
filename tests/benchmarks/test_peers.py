"""TRL's own trainers beside ours, on the same examples: BENCHMARK_ENVS names what benchmarks/envs.sh made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Disagreement, measure
from benchmarks.peers import PEERS, Setting

ENVIRONMENTS = {"sft": "trl", "reward": "trl", "dpo": "trl", "ppo": "trl-ppo"}
CASES = [(stage, setting) for stage, peer in PEERS["trl"].items() for setting in peer.settings]


def interpreter(stage: str) -> str:
    python = Path(os.environ.get("BENCHMARK_ENVS", "nowhere"), ENVIRONMENTS[stage], "bin", "python")
    if not python.exists():
        pytest.skip("BENCHMARK_ENVS does not name a folder with this environment")
    return str(python)


@pytest.mark.parametrize(("stage", "setting"), CASES)
def test_both_compute_the_same_loss(stage: str, setting: str, bench_of: Any) -> None:
    """`measure` refuses different losses."""
    found = measure(bench_of(stage), PEERS["trl"][stage], setting, interpreter(stage))
    assert found.peer is not None and found.ratio is not None
    assert (found.peer.preparation > 0) == (setting == "precomputed")


def test_another_loss_is_found_out(bench_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    python, peer = interpreter("dpo"), PEERS["trl"]["dpo"]
    monkeypatch.setitem(peer.settings, "stronger", Setting({"beta": 0.2}))
    with pytest.raises(Disagreement, match="step 2: margin"):
        measure(bench_of("dpo"), peer, "stronger", python)
