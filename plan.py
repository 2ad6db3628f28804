"""Plan a run: `python plan.py` with what `train.py` would be given; `python plan.py --help` shows the choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import talking_verb

if TYPE_CHECKING:
    from launch.plan import Point


@talking_verb("plan")
def plan(point: Point, overrides: list[str]) -> None:
    """Print memory, arithmetic, time and cost of a training run, without weights and without running it."""
    # Here, since it imports torch, and a mistyped key should be told without waiting for that.
    from launch.capacity_report import run_plan

    run_plan(point)


if __name__ == "__main__":
    plan()
