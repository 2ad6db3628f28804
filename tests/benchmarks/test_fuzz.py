"""A short run of what `python -m benchmarks.fuzz` does at length."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.__main__ import TARGETS, run

INPUTS = {"judges": 1500, "saved": 400, "overrides": 200, "templates": 80, "readers": 500}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_random_inputs_end_in_the_labs_own_errors(target: str) -> None:
    outcomes, faults = run(target, INPUTS[target])
    assert faults == [] and sum(outcomes.values()) == INPUTS[target] and len(outcomes) > 1


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(random: object) -> str:
        raise KeyError("x")

    monkeypatch.setitem(TARGETS, "judges", broken)
    outcomes, faults = run("judges", 3)
    assert outcomes["fault"] == 3 and len(faults) == 1 and "KeyError" in faults[0]
