"""Rounds of training as curves: judge, the round's own reward model, KL, and how far reward models agree with labels of
fresh answers."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf.evaluation.rounds import Point
from rlhf.reporting.charts.chart import Chart, Line, Text
from rlhf.reporting.strings import text

POLICY, FRESH, HELD_OUT, BEST = range(4)
"""Colours, one for each entry of the section's legend."""
CHANCE = {"agreement": (0.5,)}
"""What an axis shows in any case."""


def charts(points: Sequence[Point]) -> list[Chart]:
    """One for each thing that is measured; without those of which nothing is known."""
    agreement = [
        _line(points, "agreement", text("rounds_fresh"), FRESH),
        _line(points, "accuracy", text("rounds_held_out"), HELD_OUT),
        _line(points, "agreement_ceiling", text("rounds_best"), BEST, bound=True),
    ]
    found = [
        ("gold", text("rounds_gold"), [_line(points, "gold", text("rounds_policy"), POLICY)]),
        ("proxy", text("rounds_proxy"), [_line(points, "proxy_gain", text("rounds_policy"), POLICY)]),
        ("kl", text("rounds_kl"), [_line(points, "kl", text("rounds_policy"), POLICY)]),
        ("agreement", text("rounds_agreement"), agreement),
    ]
    return [
        Chart(f"rounds-{name}", title, text("round"), ("", ""), drawn, include=CHANCE.get(name, ()), whole=True)
        for name, title, lines in found
        if (drawn := [line for line in lines if line.xs])
    ]


def _line(points: Sequence[Point], name: str, label: Text, series: int, bound: bool = False) -> Line:
    known = [one for one in points if one.get(name) is not None]
    return Line(
        label[0],
        series,
        [float(one["round"]) for one in known],
        [float(one[name]) for one in known],
        [one.get(f"{name}_low") for one in known],
        [one.get(f"{name}_high") for one in known],
        [f"{one['name']} · {one[name]:.3f}" for one in known],
        "line" if bound else "dots",
        bound,
    )
