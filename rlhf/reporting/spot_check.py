"""What people said of a run's own samples (`label.py run=RUN`): whether the higher score was deserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf.errors import DataError
from rlhf.labelling.results import SPOT_CHECK as FOLDER
from rlhf.labelling.results import deserved_record
from rlhf.labelling.vote_log import FILE, read_votes, standing
from rlhf.reporting.charts.chart import Chart, Line, Palette, Text
from rlhf.reporting.contents import Material
from rlhf.reporting.page import Section
from rlhf.reporting.strings import text
from rlhf.reporting.tables import Table


def read_spot_check(run: Path) -> dict[str, Any] | None:
    """How often the higher score was deserved (`deserved_record`), and `people`; `None` where nobody was asked."""
    path = run / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        lines = list(standing(read_votes(path)))
    except DataError:
        return None
    record = deserved_record(lines)
    people = {line["annotator"] for line in lines if line["event"] == "vote"}
    return record and {**record, "people": len(people)}


def spot_check_sections(material: Material, palette: Palette) -> list[Section]:
    """One section about all runs that were checked, with the share by the difference of the two scores."""
    checked = [(run, run.spot_check) for run in material.runs if run.spot_check]
    if not checked:
        return []
    lines, rows, raw, paragraphs = [], [], [], list[Text]()
    for run, record in checked:
        bins = record["bins"]
        notes = [f"{b['gap']:.2f} → {b['share']:.0%} ({b['n']})" for b in bins]
        xs, ys = [b["gap"] for b in bins], [b["share"] for b in bins]
        low, high = [b["low"] for b in bins], [b["high"] for b in bins]
        lines.append(Line(run.name, palette(run.label), xs, ys, low, high, notes, "dots"))
        values = {name: f"{record[name]:.1%}" for name in ("share", "low", "high")}
        paragraphs.append(text("spot_check_text", run=run.name, n=record["n"], people=record["people"], **values))
        rows += [
            [run.name, f"{b['gap']:.2f}", f"{b['share']:.1%}", f"{b['low']:.1%} – {b['high']:.1%}", str(b["n"])]
            for b in bins
        ]
        raw += [[run.name, *(b[name] for name in ("gap", "share", "low", "high", "n"))] for b in bins]
    half = Line("50%", 7, [0.0, max(max(line.xs) for line in lines)], [0.5, 0.5], bound=True)
    chart = Chart(FOLDER, text("spot_check"), text("score_gap"), text("deserved"), [half, *lines], include=(0, 1))
    head: list[Text | str] = [text("run"), text("score_gap"), text("deserved"), "95%", text("votes")]
    table = Table(FOLDER, head, rows, raw, ["run", "gap", "share", "low", "high", "n"])
    note = text("spot_check_note")
    return [Section(FOLDER, text("spot_check"), charts=[chart], paragraphs=[*paragraphs, note], tables=[table])]
