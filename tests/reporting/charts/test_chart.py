from __future__ import annotations

from xml.etree import ElementTree

import pytest

from rlhf.reporting.charts.chart import (
    Chart,
    Forest,
    Line,
    Parallel,
    histogram,
    reach,
    root_ticks,
    span,
    thin,
    tick_text,
    ticks,
)
from rlhf.reporting.charts.svg import draw, standalone

EVIL = '<script>"&'


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3.2, 7.9, [-2.5, 0, 2.5, 5, 7.5]),
        (0, 1250, [0, 250, 500, 750, 1000, 1250]),
    ],
)
def test_round_ticks(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(found)


def test_ticks_under_a_root() -> None:
    assert root_ticks(-0.2, 13) == [0, 0.5, 2, 5, 10]
    assert root_ticks(0, 2) == pytest.approx([0, 0.05, 0.2, 0.5, 1, 2])


def test_short_ticks() -> None:
    assert [tick_text(v) for v in (0, -2.5, 12000, 3e6, 2e-5)] == ["0", "−2.5", "12k", "3M", "2e-5"]


def test_ranges() -> None:
    assert span([]) == (0.0, 1.0) and span([3.0, 3.0]) == pytest.approx((2.7, 3.3))
    assert span([1, 10])[0] == 0.0, "an axis that almost reaches 0 starts there"
    vast = Chart("a", ("", ""), ("", ""), ("", ""), [Line("a", 0, [0, 1], [4, 6], [-100, 5], [100, 7])])
    low, high = reach(vast)
    assert -1 < low < 4 and 6 < high < 11, "an interval does not flatten the means"


def test_long_lines_are_thinned() -> None:
    xs, ys = thin([float(i) for i in range(10_000)], [float(i) for i in range(10_000)])
    assert len(xs) <= 240 and xs[-1] == 9999 and xs == pytest.approx(ys)


def test_histogram() -> None:
    assert histogram([0, 0.5, 1, 2], [0, 1, 2]) == [0.5, 0.5]


@pytest.mark.parametrize(
    "chart",
    [
        Chart("c", (EVIL, "标题"), ("x", "横"), ("y", "纵"), [Line(EVIL, 9, [0, 1], [1, 2], [0, 1], [2, 3], [EVIL])]),
        Chart("r", ("a", "a"), ("x", "x"), ("y", "y"), [Line("a", 0, [-0.1, 4], [1, 2], kind="dots")], root=True),
        Chart("d", ("a", "a"), ("x", "x"), ("y", "y"), [Line(EVIL, 0, [0, 1, 2], [0.5, 0.5], kind="steps")]),
        Chart("e", ("a", "a"), ("x", "x"), ("y", "y"), [Line("one", 0, [1], [1], kind="diamonds")]),
        Forest("f", ("a", "a"), [(EVIL, 0.5, 0.4, 0.6, EVIL)]),
        Parallel("p", ("a", "a"), [("lr", [1.0, 2.0]), (EVIL, [EVIL, None]), ("k", [1, 1])], [EVIL, "b"], [0, 1]),
    ],
)
def test_every_chart_is_well_formed(chart: Chart | Forest | Parallel) -> None:
    assert "<script" not in draw(chart)
    root = ElementTree.fromstring(standalone(chart))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
            assert "nan" not in element.get(name, ""), element.attrib
