"""Charts as data: what is drawn, whatever draws it (`svg.py` for the page, `png.py` through matplotlib)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Text = tuple[str, str]
"""English, Chinese."""
Value = float | None

COLOURS = ("#3b6fb5", "#d1762b", "#3d8f5f", "#b5485d", "#7a62ab", "#8a6d4b", "#c46aa5", "#5f7a85")
"""Of series in turn; on the page lighter ones take their place in dark mode."""
DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""After the last colour the next dash."""
MAX_POINTS = 240
"""A line of more points is averaged over stretches: a screen has no more, and the page stays small."""


@dataclass(frozen=True)
class Line:
    """One series.

    Attributes:
        label: shown in the legend. series: its number, from which colour and dash follow.
        low, high: 95% interval of each point. notes: what a pointer sees of each point.
        kind: a line, a line with points, a faint path to a strong last point, the same
            without one (trail), points alone, diamonds, or steps (a
            histogram's outline).
    """

    label: str
    series: int
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()
    notes: Sequence[str] = ()
    kind: Literal["line", "dots", "path", "trail", "points", "diamonds", "steps"] = "line"
    bound: bool = False

    @property
    def colour(self) -> int:
        return self.series % len(COLOURS)

    @property
    def dash(self) -> str:
        return "2 3" if self.bound else DASHES[self.series // len(COLOURS) % len(DASHES)]


@dataclass(frozen=True)
class Annotation:
    """A vertical line at x with a short word."""

    x: float
    text: Text


@dataclass(frozen=True)
class Chart:
    """Lines on two axes.

    Attributes:
        id: the file's name. title: above it. include: what the y axis must contain.
        root: whether x is placed by its square root, as Gao et al. 2023 place the KL: most of a run is at small ones.
        whole: whether x counts something, so that only whole numbers are written at it.
    """

    id: str
    title: Text
    x: Text
    y: Text
    lines: Sequence[Line]
    marks: Sequence[Annotation] = ()
    include: Sequence[float] = ()
    root: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Forest:
    """Proportions with their intervals, one a row, against one half."""

    id: str
    title: Text
    rows: Sequence[tuple[str, float, float, float, str]]


@dataclass(frozen=True)
class Parallel:
    """Runs as lines over several axes: settings first, results last.

    Attributes:
        axes: (name, values of all runs); numbers, or words, which are placed evenly.
        labels: of the runs. series: the number of each run's colour.
    """

    id: str
    title: Text
    axes: Sequence[tuple[str, Sequence[float | str | None]]]
    labels: Sequence[str]
    series: Sequence[int]


Drawn = Chart | Forest | Parallel


@dataclass
class Palette:
    """Gives every label its own number, the same in all charts."""

    numbers: dict[str, int] = field(default_factory=dict)

    def __call__(self, label: str) -> int:
        return self.numbers.setdefault(label, len(self.numbers))


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About n round numbers (1, 2, 2.5 or 5 times a power of ten) within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def root_of(value: float) -> float:
    """The square root, with the sign kept: an estimate of a KL may be a little below 0."""
    return math.copysign(math.sqrt(abs(value)), value)


def root_ticks(low: float, high: float) -> list[float]:
    """Round numbers that a square root places apart."""
    wanted = [0.0, *(factor * 10.0**power for power in range(-2, 5) for factor in (1, 2, 5))]
    found: list[float] = []
    for value in wanted:
        room = (root_of(high) - root_of(low)) / 9
        if low <= value <= high and (not found or root_of(value) - root_of(found[-1]) >= room):
            found.append(round(value, 12))
    return found


def tick_text(value: float) -> str:
    """Short: 1,200 is 1.2k, and a real minus."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        text = f"{value / 1e6:g}M"
    elif size >= 10_000:
        text = f"{value / 1e3:g}k"
    elif size < 1e-3:
        text = f"{value:.0e}".replace("e-0", "e-")
    else:
        text = f"{value:g}"
    return text.replace("-", "−") if "e" not in text else text


def span(values: Sequence[float], include: Sequence[float] = ()) -> tuple[float, float]:
    """The range that an axis shows, with a little room."""
    known = [v for v in (*values, *include) if math.isfinite(v)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    pad = (high - low) * 0.05
    # An axis that almost reaches 0 starts there.
    below = 0.0 if 0 <= low <= (high - low) * 0.25 else low - pad
    return below, high + pad


def reach(chart: Chart) -> tuple[float, float]:
    """The range of the y axis; intervals widen it by at most half of what the means need, since two seeds' are vast."""
    means = [y for line in chart.lines for y in line.ys if math.isfinite(y)]
    low, high = span(means, chart.include)
    ends = [v for line in chart.lines for v in (*line.low, *line.high) if v is not None and math.isfinite(v)]
    room = (high - low) / 2
    if not ends:
        return low, high
    below, above = max(min(ends), low - room), min(max(ends), high + room)
    return span([min(low, below), max(high, above)]) if (below < low or above > high) else (low, high)


def thin(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `MAX_POINTS` points: means over equal stretches, the last point kept."""
    n = len(xs)
    if n <= MAX_POINTS:
        return list(xs), list(ys)
    edges = [round(i * (n - 1) / (MAX_POINTS - 1)) for i in range(MAX_POINTS)]
    new_x, new_y = [], []
    for a, b in pairwise(edges):
        if b > a:
            new_x.append(sum(xs[a:b]) / (b - a))
            new_y.append(sum(ys[a:b]) / (b - a))
    return [*new_x, xs[-1]], [*new_y, ys[-1]]


def histogram(values: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Share of the values in each bin [edge, next), the last one closed."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        place = next((i for i in range(len(counts)) if value < edges[i + 1]), len(counts) - 1)
        counts[place] += 1
    return [count / len(values) for count in counts] if values else [0.0] * len(counts)
