"""One self-contained HTML page about a run, a sweep or an evaluation, and the tables and plots that are in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rlhf.evaluation.findings import Finding
from rlhf.reporting.browser import as_json
from rlhf.reporting.charts.chart import COLOURS, Chart, Drawn, Parallel, Text
from rlhf.reporting.charts.svg import draw
from rlhf.reporting.contents import Material
from rlhf.reporting.sentences import LANGUAGES, describe
from rlhf.reporting.strings import STRINGS, text
from rlhf.reporting.tables import Table

ASSETS = Path(__file__).parent / "assets"
FILES = "report_files"
"""The folder beside the page with its tables and plots."""
IN_SCRIPT = (
    *("matching", "previous", "next", "nothing", "cut_off", "any", "first_wins", "second_wins", "ties", "tokens"),
    *("category", "who_won", "compare", "with", "by"),
)


@dataclass
class Section:
    """A heading and what stands under it, in this order.

    Attributes:
        paragraphs: pairs of sentences. unfold: charts that are shown on demand. wide: two charts in a row, not three.
    """

    id: str
    title: Text
    facts: Sequence[tuple[Text | str, Text | str]] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Drawn] = ()
    unfold: Sequence[Drawn] = ()
    paragraphs: Sequence[Text] = ()
    findings: Sequence[tuple[str, Finding]] = ()
    config: str = ""
    wide: bool = False
    browser: dict[str, Any] = field(default_factory=dict)

    @property
    def legend(self) -> list[tuple[str, int]]:
        """Label and colour of every series, in the order of the colours."""
        found: dict[str, int] = {}
        for chart in self.charts:
            if isinstance(chart, Chart):
                found |= {line.label: line.series for line in chart.lines}
            elif isinstance(chart, Parallel):
                found |= dict(zip(chart.labels, chart.series, strict=True))
        return [(label, number % len(COLOURS)) for label, number in sorted(found.items(), key=lambda item: item[1])]


@dataclass
class Page:
    """The content of a report, before it is written in any form.

    Attributes:
        kind: of what it is a report. title: what is compared, or trained.
    """

    material: Material
    kind: Text
    title: str
    sections: list[Section]
    loose: list[Table]
    """Tables that are files only."""

    @property
    def navigation(self) -> list[Section]:
        """Sections with a link at the top: of the learning curves only the first."""
        later = [section for section in self.sections if section.id.startswith("curves")][1:]
        return [section for section in self.sections if section not in later]

    @property
    def tables(self) -> list[Table]:
        return [table for section in self.sections for table in section.tables] + self.loose

    @property
    def charts(self) -> list[Drawn]:
        return [chart for section in self.sections for chart in (*section.charts, *section.unfold)]


def render(page: Page, language: str, files: bool) -> str:
    """The page as HTML; nothing in it is loaded from elsewhere.

    Args:
        language: that it opens in; both are in it. files: whether `FILES` lies beside it.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "t": lambda key, **values: both(text(key, **values)),
        "both": both,
        "draw": draw,
        "describe": lambda finding: list(zip(*(describe(finding, lang) for lang in LANGUAGES), strict=True)),
        "asset": lambda name: Markup((ASSETS / name).read_text(encoding="utf-8")),
        "pair": text,
    }
    data = next((section.browser for section in page.sections if section.browser), None)
    words = {key: STRINGS[key] for key in IN_SCRIPT}
    return environment.get_template("report.html").render(
        page=page,
        language=language,
        files=FILES if files else None,
        data=as_json({**data, "words": words}) if data else None,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        name=page.material.path.name,
    )


def both(words: Text | str) -> Markup:
    """A text in both languages, of which the style shows one."""
    if isinstance(words, str):
        return Markup("{}").format(words)
    if words[0] == words[1]:
        return Markup("{}").format(words[0])
    return Markup('<span class="en">{}</span><span class="zh">{}</span>').format(*words)
