"""Charts as SVG. Colours are classes, so that the page's theme decides; text is there in both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

from rlhf.reporting.charts.chart import (
    COLOURS,
    Chart,
    Drawn,
    Forest,
    Line,
    Parallel,
    Text,
    reach,
    root_of,
    root_ticks,
    span,
    tick_text,
    ticks,
)

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38
Scale = Callable[[float], float]

STANDALONE = (
    "text{font:11px system-ui,sans-serif;fill:#444}.zh{display:none}.grid{stroke:#e3e3e3}.axis{stroke:#999}"
    ".end{text-anchor:end}.mid{text-anchor:middle}.line,.steps{fill:none;stroke-width:1.8}.mark{stroke:#b5485d;"
    "stroke-dasharray:4 3}.band{opacity:.16;stroke:none}.err{stroke-width:1.2}"
    + "".join(f".s{i}{{stroke:{colour};fill:{colour}}}" for i, colour in enumerate(COLOURS))
    + ".line,.steps{fill:none}"
)
"""The style of a file that stands alone."""


def draw(chart: Drawn) -> Markup:
    """The chart as an `<svg>` element of the page."""
    match chart:
        case Chart():
            return _frame(chart.title, WIDTH, HEIGHT, draw_parts(chart))
        case Forest():
            return _frame(chart.title, WIDTH, 30 * len(chart.rows) + 44, _forest(chart))
        case Parallel():
            return _frame(chart.title, parallel_width(chart), 260, _parallel(chart))


def standalone(chart: Drawn) -> str:
    """The content of an `.svg` file."""
    start = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(draw(chart)).replace("<svg ", start, 1).replace(">", f"><style>{STANDALONE}</style>", 1) + "\n"


def _frame(title: Text, width: int, height: int, parts: Iterator[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>').format(
        width, height, width, height, title[0], Markup("").join(parts)
    )


def words(x: float, y: float, text: Text | str, classes: str = "") -> Markup:
    """A text that begins at a place, or ends or is centred there by its class; of two languages the style shows one."""
    if isinstance(text, str):
        return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, classes, text)
    one = Markup('<text x="{:.1f}" y="{:.1f}" class="{} {}">{}</text>')
    return Markup("").join(
        one.format(x, y, classes, language, said) for language, said in zip(("en", "zh"), text, strict=True)
    )


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _clipped(scale: Scale) -> Scale:
    """What lies beyond the axis ends at it."""
    return lambda value: min(max(scale(value), TOP), HEIGHT - BOTTOM)


def draw_parts(chart: Chart) -> Iterator[Markup]:
    """Axes, marks and lines within `WIDTH` by `HEIGHT`, without the frame."""
    xs = [x for line in chart.lines for x in line.xs]
    (x0, x1), (y0, y1) = span(xs), reach(chart)
    if any(line.kind == "steps" for line in chart.lines):
        x0, x1, y0 = min(xs), max(xs), 0.0
    x = _scale(x0, x1, LEFT, WIDTH - RIGHT)
    if chart.root:
        straight = _scale(root_of(x0), root_of(x1), LEFT, WIDTH - RIGHT)
        x = lambda value: straight(root_of(value))  # noqa: E731
    y = _clipped(_scale(y0, y1, HEIGHT - BOTTOM, TOP))
    for value in ticks(y0, y1):
        yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            LEFT, WIDTH - RIGHT, y(value), y(value)
        )
        yield words(LEFT - 5, y(value) + 4, tick_text(value), "end")
    placed = root_ticks(x0, x1) if chart.root else ticks(x0, x1, 6)
    for value in (at for at in placed if at.is_integer() or not chart.whole):
        yield words(x(value), HEIGHT - BOTTOM + 15, tick_text(value), "mid")
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM
    )
    yield words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, chart.x, "mid")
    for mark in chart.marks:
        yield Markup('<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
            x(mark.x), x(mark.x), TOP, HEIGHT - BOTTOM
        )
        left = x(mark.x) > WIDTH * 0.6
        yield words(x(mark.x) + (-4 if left else 4), TOP + 8, mark.text, "end marked" if left else "marked")
    for line in chart.lines:
        yield Markup('<g class="series" data-series="{}">{}</g>').format(
            line.label, Markup("").join(_line(line, x, y, HEIGHT - BOTTOM))
        )


def _line(line: Line, x: Scale, y: Scale, floor: float) -> Iterator[Markup]:
    places = [(x(a), y(b)) for a, b in zip(line.xs, line.ys, strict=False)]
    colour = f"s{line.colour}"
    bounds = list(zip(line.xs, line.low, line.high, strict=False))
    known = [(a, low, high) for a, low, high in bounds if low is not None and high is not None]
    if line.kind == "steps":
        yield from _steps(line, x, y, floor)
        return
    if line.kind == "line" and len(known) > 1:
        around = [(x(a), y(high)) for a, _, high in known] + [(x(a), y(low)) for a, low, _ in reversed(known)]
        yield Markup('<polygon class="band {}" points="{}"/>').format(colour, _path(around))
    elif line.kind != "line":
        for a, low, high in known:
            yield Markup('<line class="err {}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                colour, x(a), x(a), y(low), y(high)
            )
    if line.kind in ("line", "dots", "path", "trail") and len(places) > 1:
        kind = f"{colour} faint" if line.kind in ("path", "trail") else colour
        yield Markup('<polyline class="line {}" points="{}"{}/>').format(kind, _path(places), _dash(line))
    if line.kind == "diamonds":
        shape = Markup('<path class="dot {}" d="M{:.1f} {:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z">{}</path>')
        yield from (shape.format(colour, a, b - 5.5, _note(line, i)) for i, (a, b) in enumerate(places))
    elif line.kind != "line" or len(places) == 1:
        dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>')
        for i, (a, b) in enumerate(places):
            small = line.kind == "trail" or (line.kind == "path" and i < len(places) - 1)
            radius = 1.6 if small else 4.5 if line.kind == "path" else 3.2
            yield dot.format(colour, a, b, radius, _note(line, i))


def _steps(line: Line, x: Scale, y: Scale, floor: float) -> Iterator[Markup]:
    """An outline over bins: `xs` are their edges, one more than `ys`."""
    corners = [(x(line.xs[0]), floor)]
    for i, share in enumerate(line.ys):
        corners += [(x(line.xs[i]), y(share)), (x(line.xs[i + 1]), y(share))]
    corners.append((x(line.xs[-1]), floor))
    yield Markup('<polygon class="band s{}" points="{}"/>').format(line.colour, _path(corners))
    yield Markup('<polyline class="steps s{}" points="{}"{}/>').format(line.colour, _path(corners), _dash(line))


def _dash(line: Line) -> Markup:
    return Markup(' stroke-dasharray="{}"').format(line.dash) if line.dash else Markup("")


def _note(line: Line, i: int) -> Markup:
    return Markup("<title>{}</title>").format(line.notes[i]) if i < len(line.notes) else Markup("")


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)


def _forest(chart: Forest) -> Iterator[Markup]:
    left = 128
    x = _scale(0, 1, left, WIDTH - RIGHT - 4)
    bottom = 30 * len(chart.rows) + 14
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="8" y2="{}"/>').format(
            "mark" if value == 0.5 else "grid", x(value), x(value), bottom
        )
        yield words(x(value), bottom + 16, f"{value:.0%}", "mid")
    for i, (name, rate, low, high, note) in enumerate(chart.rows):
        y = 26 + 30 * i
        yield words(left - 8, y + 4, name.replace(">", " > "), "end")
        yield Markup('<line class="err s0" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(x(low), x(high), y, y)
        yield Markup('<circle class="dot s0" cx="{:.1f}" cy="{}" r="4"><title>{}</title></circle>').format(
            x(rate), y, note
        )
        yield words(x(rate), y - 8, f"{rate:.0%}", "mid")


def parallel_width(chart: Parallel) -> int:
    """The whole page's, and more where there are many axes: a phone scrolls."""
    return max(880, 125 * len(chart.axes))


def _parallel(chart: Parallel) -> Iterator[Markup]:
    width, top, bottom = parallel_width(chart), 40, 225
    columns: list[list[float | None]] = []
    for i, (name, values) in enumerate(chart.axes):
        at = 50 + i * (width - 100) / max(1, len(chart.axes) - 1)
        yield Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(at, at, top, bottom)
        yield words(at, top - 18 if i % 2 == 0 else top - 6, name, "mid strong")
        numbers = [v for v in values if isinstance(v, int | float)]
        if len(numbers) == len([v for v in values if v is not None]) and numbers:
            low, high = min(numbers), max(numbers)
            y = _scale(low, high, bottom, top) if high > low else (lambda _: (top + bottom) / 2)
            columns.append([y(v) if isinstance(v, int | float) else None for v in values])
            yield words(at + 4, top + 11, f"{high:.4g}", "small")
            if high > low:
                yield words(at + 4, bottom - 2, f"{low:.4g}", "small")
        else:
            named = list(dict.fromkeys(str(v) for v in values if v is not None))
            places = {w: bottom - (j + 0.5) * (bottom - top) / len(named) for j, w in enumerate(named)}
            columns.append([places.get(str(v)) if v is not None else None for v in values])
            for word, place in places.items():
                yield words(at + 4, place - 3, word[:14], "small")
    for j, label in enumerate(chart.labels):
        known = [
            (50 + i * (width - 100) / max(1, len(columns) - 1), value)
            for i, column in enumerate(columns)
            if (value := column[j]) is not None
        ]
        yield Markup(
            '<g class="series" data-series="{}"><polyline class="line s{}" points="{}"><title>{}</title></polyline></g>'
        ).format(label, chart.series[j] % len(COLOURS), _path(known), label)
