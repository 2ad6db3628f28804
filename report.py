"""See what came out: `python report.py path=DIR`; `python report.py --help` shows what can be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import talking_verb

if TYPE_CHECKING:
    from launch.plan import Point


@talking_verb("report")
def report(point: Point, overrides: list[str]) -> None:
    """Write one page, report.html, about a run, a sweep or an evaluation; it reads what is there, and runs nothing."""
    # Here, since it reads a lot, and a mistyped key should be told without waiting for that.
    from launch.reporting import run_report

    run_report(point.config)


if __name__ == "__main__":
    report()
