"""The same charts through matplotlib, as PNG files for slides and papers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlhf.reporting.charts.chart import COLOURS, Chart, Drawn, Forest, Line, Parallel

DPI = 160
MANY = 5
"""Lines whose legend has room inside of the axes."""
DASHES = {"": "solid", "6 3": "dashed", "2 3": "dotted", "8 3 2 3": "dashdot"}


def as_png(charts: Sequence[Drawn]) -> dict[str, bytes]:
    """The content of one file per chart, by name; parallel coordinates are SVG only, since matplotlib has no such plot.

    Raises:
        ImportError: there is no matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    found = {}
    for chart in charts:
        if isinstance(chart, Parallel):
            continue
        beside = isinstance(chart, Chart) and len(chart.lines) > MANY
        figure = Figure(figsize=(6.6 if beside else 5, 3.4), layout="constrained")
        axes = figure.subplots()
        if isinstance(chart, Forest):
            _forest(axes, chart)
        else:
            _chart(axes, chart)
        axes.set_title(chart.title[0], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI)
        found[f"{chart.id}.png"] = drawn.getvalue()
    return found


def _chart(axes: Any, chart: Chart) -> None:
    for line in chart.lines:
        _line(axes, line)
    for mark in chart.marks:
        axes.axvline(mark.x, color=COLOURS[3], linestyle="dashed", linewidth=1)
    if chart.root:
        axes.set_xscale("function", functions=(lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * x**2))
    if chart.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(chart.x[0])
    axes.set_ylabel(chart.y[0])
    axes.grid(axis="y", alpha=0.3)
    if len(chart.lines) > MANY:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    elif len(chart.lines) > 1:
        axes.legend(fontsize=7, frameon=False)


def _line(axes: Any, line: Line) -> None:
    style = {"color": COLOURS[line.colour], "label": line.label}
    if line.kind == "steps":
        axes.stairs(list(line.ys), list(line.xs), **style)
        return
    marker = {"dots": "o", "points": "o", "diamonds": "D"}.get(line.kind, "")
    joined = DASHES[line.dash] if line.kind in ("line", "dots", "path", "trail") else "none"
    if line.kind in ("path", "trail"):
        faint = {"color": style["color"], "linestyle": joined, "linewidth": 0.8, "alpha": 0.5}
        axes.plot(list(line.xs), list(line.ys), marker="o", markersize=2, **faint)
        size = 6 if line.kind == "path" else 2
        axes.plot([line.xs[-1]], [line.ys[-1]], marker="o", markersize=size, linestyle="none", **style)
    else:
        axes.plot(list(line.xs), list(line.ys), marker=marker, markersize=4, linestyle=joined, **style)
    known = [
        (x, low, high)
        for x, low, high in zip(line.xs, line.low, line.high, strict=False)
        if low is not None and high is not None
    ]
    if known and line.kind == "line":
        xs, lows, highs = zip(*known, strict=True)
        axes.fill_between(xs, lows, highs, color=style["color"], alpha=0.16, linewidth=0)
    elif known:
        axes.vlines([x for x, _, _ in known], [a for _, a, _ in known], [b for _, _, b in known], color=style["color"])


def _forest(axes: Any, chart: Forest) -> None:
    for i, (_, rate, low, high, _) in enumerate(chart.rows):
        axes.plot([low, high], [-i, -i], color=COLOURS[0])
        axes.plot([rate], [-i], "o", color=COLOURS[0])
    axes.set_yticks([-i for i in range(len(chart.rows))], [row[0] for row in chart.rows])
    axes.axvline(0.5, color=COLOURS[3], linestyle="dashed", linewidth=1)
    axes.set_xlim(0, 1)
