"""Gold and proxy score against √KL, as Gao et al. 2022 draw them: charts, and one picture of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

from rlhf.evaluation.overoptimisation.fits_table import BEST_OF_N, Track
from rlhf.reporting.charts.chart import COLOURS, Chart, Line, Palette
from rlhf.reporting.charts.svg import HEIGHT, LEFT, STANDALONE, WIDTH, draw_parts, words
from rlhf.reporting.strings import text

LETTER = 6.4
"""Width of a letter of the legend, in pixels, roughly."""


def charts(tracks: Sequence[Track], palette: Palette) -> list[Chart]:
    """Gold and proxy score above the start; measured points, and in the first the fitted laws."""
    found = []
    for measure in ("gold", "proxy"):
        lines = [line for track in tracks for line in _lines(track, measure, palette)]
        axis = text(f"{measure}_gain_axis")
        found.append(
            Chart(f"overoptimisation-{measure}", text(f"{measure}_gain"), text("kl_axis"), axis, lines, (), (0,), True)
        )
    return found


def _lines(track: Track, measure: str, palette: Palette) -> Iterator[Line]:
    points, best = track["points"], track["method"] == BEST_OF_N
    xs = [max(0.0, point["kl"]) for point in points]
    ys = [point[f"{measure}_gain"] for point in points]
    name, series = track["name"], palette(track["name"])
    fit = track.get("fit") if measure == "gold" else None
    if fit is not None:
        yield Line(name, series, fit["curve"]["kl"], fit["curve"]["gain"], bound=best)
    elif measure == "proxy":
        yield Line(name, series, xs, ys, bound=best)
    notes = [
        f"{name} · {'n = ' + str(p['n']) if best else 'step ' + str(p['step'])} · KL {x:.2f} · {y:+.2f}"
        for p, x, y in zip(points, xs, ys, strict=True)
    ]
    yield Line(name, series, xs, ys, (), (), notes, "diamonds" if best else "points")


def picture(tracks: Sequence[Track]) -> str:
    """One SVG file: both charts side by side, and what colours and marks mean."""
    palette = Palette()
    both = charts(tracks, palette)
    rows = list(_legend(tracks, palette))
    width, top = 2 * WIDTH, 26
    height = top + HEIGHT + 18 * len(rows) + 8
    parts = [Markup('<rect width="{}" height="{}" fill="#fff"/>').format(width, height)]
    for i, chart in enumerate(both):
        title = words(LEFT, 17, chart.title, "strong")
        body = Markup('<g transform="translate(0 {})">{}</g>').format(top, Markup("").join(draw_parts(chart)))
        parts.append(Markup('<g transform="translate({} 0)">{}{}</g>').format(i * WIDTH, title, body))
    for i, row in enumerate(rows):
        parts.append(Markup('<g transform="translate({} {})">{}</g>').format(LEFT, top + HEIGHT + 12 + 18 * i, row))
    style = STANDALONE + ".strong{font-weight:600}.key{stroke:#666;fill:#666}.key.line{fill:none}.dot{stroke:#fff}"
    start = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
    return str(Markup(start).format(width, height)) + f"<style>{style}</style>{Markup('').join(parts)}</svg>\n"


Drawer = Callable[[float], Markup]


def _legend(tracks: Sequence[Track], palette: Palette) -> Iterator[Markup]:
    """A row for colours, and one for marks."""
    swatch = '<rect class="s{}" x="{{:.0f}}" y="-8" width="10" height="8"/>'
    names = dict.fromkeys(str(track["name"]) for track in tracks)
    yield _row([(name, Markup(swatch.format(palette(name) % len(COLOURS))).format) for name in names], 14)
    marks: list[tuple[str, Drawer]] = []
    trained = dict.fromkeys(str(track["method"]) for track in tracks if track["method"] != BEST_OF_N)
    if trained:
        dot = Markup('<circle class="key" cx="{:.0f}" cy="-4" r="3.2"/>')
        line = Markup('<path class="key line" d="M{:.0f} -4h24"/>')
        marks += [
            (f"{', '.join(trained)}, measured", lambda x: dot.format(x + 12)),
            ("d·(α − β·log d), d = √KL", line.format),
        ]
    if any(track["method"] == BEST_OF_N for track in tracks):
        diamond = Markup('<path class="key" d="M{:.0f} -9.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>')
        dashed = Markup('<path class="key line" stroke-dasharray="2 3" d="M{:.0f} -4h24"/>')
        marks += [("best of n, measured", lambda x: diamond.format(x + 12)), ("d·(α − β·d)", dashed.format)]
    yield _row(marks, 28)


def _row(entries: Sequence[tuple[str, Drawer]], room: float) -> Markup:
    found, x = Markup(""), 0.0
    for label, drawn in entries:
        found += drawn(x) + words(x + room, 0, label)
        x += room + LETTER * len(label) + 16
    return found
