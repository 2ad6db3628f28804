"""The report's tables: for the page, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.evaluation.findings import by_step
from rlhf.evaluation.outcome import COLUMNS, number
from rlhf.plain_text import csv_cell
from rlhf.reporting.charts.chart import Text
from rlhf.reporting.charts.curves import FIRST
from rlhf.reporting.charts.frontier import Mean, Point, mean_of
from rlhf.reporting.contents import EvaluationData, Material, RunData
from rlhf.reporting.strings import text
from rlhf.runs.titles import shown


@dataclass(frozen=True)
class Table:
    """Header and cells.

    Attributes:
        id: the file's name.
        head: a column's name, in both languages where it is a word of the page.
        rows: what people read. raw, raw_head: what the file holds, where it is something else.
    """

    id: str
    head: Sequence[Text | str]
    rows: Sequence[Sequence[str]]
    raw: Sequence[Sequence[Any]] = ()
    raw_head: Sequence[str] = ()

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which stand to the left; numbers stand to the right."""
        cells = [row[column] for row in self.rows if row[column]]
        return column == 0 or not all(cell[0] in "0123456789-−–≤<." for cell in cells)

    def csv(self) -> str:
        """The file's content."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        head = self.raw_head or [name if isinstance(name, str) else name[0] for name in self.head]
        writer.writerows([*map(csv_cell, row)] for row in (head, *(self.raw or self.rows)))
        return stream.getvalue()


def models_table(evaluation: EvaluationData) -> Table:
    """An evaluation's headline: one row a model, best-of-n last."""
    rows = dict(evaluation.models)
    best = evaluation.record.get("best_of_n")
    if best:
        rows[f"best-of-{best['n']}"] = best
    names = [name for name in COLUMNS if any(isinstance(row.get(name), int | float) for row in rows.values())]
    cells = []
    for label, row in rows.items():
        cells.append([label, *(number(row.get(name), COLUMNS[name]) for name in names)])
        if "kl" in names and "kl_bound" in row:
            cells[-1][1 + names.index("kl")] = f"≤ {row['kl_bound']:.2f}"
    raw = [[label, *(row.get(name) for name in names)] for label, row in rows.items()]
    return Table("models", [text("model"), *(name.replace("_", " ") for name in names)], cells, raw)


def wins_table(evaluation: EvaluationData) -> Table:
    """Win rates, a row a pair, with the exact sign test's p where there is one."""
    rates = evaluation.record.get("win_rates") or {}
    columns = ("rate", "low", "high", "wins", "ties", "losses", "n")
    ps = {pair: (rate.get("sign_test") or {}).get("p") for pair, rate in rates.items()}
    tested = any(p is not None for p in ps.values())
    raw = [[pair, *(rate.get(name) for name in columns), ps[pair]] for pair, rate in rates.items()]
    rows = [
        [pair.replace(">", " > "), f"{r['rate']:.1%}", f"{r['low']:.1%} – {r['high']:.1%}"]
        + [str(r.get(name, "–")) for name in columns[3:]]
        + ([_chance(ps[pair])] if tested else [])
        for pair, r in rates.items()
    ]
    head: list[Text | str] = [text("pair"), text("win_rate"), "95%", text("won"), text("tied"), text("lost")]
    head += [text("prompts"), *([text("sign_test")] if tested else [])]
    return Table("win_rates", head, rows, raw, ["pair", *columns, "sign_test_p"])


def _chance(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def groups_table(algo: str, material: Material) -> Table:
    """Last values of a stage's runs: one row a setting, averaged over seeds."""
    groups = {label: runs for label, runs in material.groups().items() if runs[0].algo == algo}
    finals = [run.summary.final for runs in groups.values() for run in runs]
    names = [name for name in FIRST if any(name in final for final in finals)]
    held_out = [name for name in names if name.startswith("val/")]
    names = (held_out + [name for name in names if name not in held_out])[:7]
    golds = {label: mean_of([g for run in runs if (g := last_gold(run)) is not None]) for label, runs in groups.items()}
    with_gold = any(golds.values())
    rows, raw = [], []
    for label, runs in groups.items():
        means = [mean_of([run.summary.final[n] for run in runs if n in run.summary.final]) for n in names]
        means += [golds[label]] if with_gold else []
        rows.append([label, str(len(runs)), *map(plus_minus, means)])
        raw.append([label, len(runs), *(value for mean in means for value in _three(mean))])
    columns = [*names, *(["gold"] if with_gold else [])]
    spread = [f"{name}{end}" for name in columns for end in ("", "_low", "_high")]
    return Table(f"{algo}_runs", [text("setting"), text("runs"), *columns], rows, raw, ["setting", "runs", *spread])


def last_gold(run: RunData) -> float | None:
    """The judge's mean score of a run's last samples."""
    groups = list(by_step(run.samples).values())
    mean = mean_of([float(s["gold"]) for s in groups[-1] if "gold" in s]) if groups else None
    return mean.value if mean is not None else None


def plus_minus(mean: Mean | None) -> str:
    """`1.23 ± 0.10`."""
    if mean is None:
        return "–"
    half = "" if mean.high is None else f" ± {_short(mean.high - mean.value)}"
    return f"{_short(mean.value)}{half}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _three(mean: Mean | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if mean is None else (mean.value, mean.low, mean.high)


def first_last_table(run: RunData) -> Table:
    """A single run: what its metrics were at the start, and at the end."""
    rows, raw = [], []
    for name in FIRST:
        values = [row[name] for row in run.rows if name in row]
        if values:
            raw.append([name, values[0], min(values), max(values), values[-1]])
            rows.append([name, *map(_short, (values[0], min(values), max(values), values[-1]))])
    return Table("metrics", ["metric", text("first"), text("lowest"), text("highest"), text("last")], rows, raw)


def runs_table(material: Material) -> Table:
    """Every run: what it was, how far it came, what it cost."""
    head: list[Text | str] = [text("run"), text("model"), text("data"), text("seed"), text("steps"), text("status")]
    head += ["min", "tok/s", "GB", text("path")]
    rows = []
    for run in material.runs:
        s = run.summary
        speed = f"{s.train_tokens_per_second:,.0f}" if s.train_tokens_per_second else "–"
        memory = f"{s.peak_memory_bytes / 1e9:.2f}" if s.peak_memory_bytes else "–"
        cells = [run.name, s.model, s.data, str(s.seed), str(s.steps), s.status, f"{s.wall_seconds / 60:.1f}"]
        rows.append([*cells, speed, memory, str(run.path)])
    return Table("runs", head, rows)


def differences_table(material: Material) -> Table:
    """Keys whose values differ between the runs of one stage, and the value in each."""
    names = list(material.varied)
    rows = [
        [name, *(shown(run.settings.get(name)) if name in run.settings else "" for run in material.runs)]
        for name in names
    ]
    return Table("differences", ["key", *(run.name for run in material.runs)], rows)


def frontier_table(points: Sequence[Point]) -> Table:
    """Every point of the frontier."""
    head = [
        "label",
        "source",
        "step",
        "n",
        "kl",
        "reward",
        "reward_low",
        "reward_high",
        "gold",
        "gold_low",
        "gold_high",
    ]
    raw = [[p.label, p.source, p.step, p.n, p.kl, *_three(p.reward), *_three(p.gold)] for p in points]
    return Table("frontier", head, [], raw)


def metrics_table(material: Material) -> Table:
    """All metrics of all runs, one number a row."""
    raw = [
        [run.name, int(row["step"]), name, value]
        for run in material.runs
        for row in run.rows
        for name, value in row.items()
        if name != "step"
    ]
    return Table("curves", ["run", "step", "metric", "value"], [], raw)


def slices_table(evaluation: EvaluationData) -> Table:
    """A reward model's accuracy by slice, and that of an ensemble's members, where the evaluation has them."""
    record = evaluation.record.get("reward_model") or {}
    parts = dict(record.get("slices") or {}) | ({"member": record["members"]} if record.get("members") else {})
    raw = [
        [dimension, name, found.get("accuracy"), found.get("low"), found.get("high"), found.get("n")]
        for dimension, slices in parts.items()
        for name, found in slices.items()
    ]
    rows = [[f"{d}: {n}", f"{a:.1%}", f"{low:.1%} – {high:.1%}", str(count)] for d, n, a, low, high, count in raw]
    head: list[Text | str] = [text("slice"), text("accuracy"), "95%", text("prompts")]
    return Table("slices", head, rows, raw, ["dimension", "slice", "accuracy", "low", "high", "n"])


def harness_table(evaluation: EvaluationData) -> Table:
    """Tasks of lm-evaluation-harness, a row a task and metric."""
    harness = evaluation.record.get("harness") or {}
    names = dict.fromkeys((task, name) for tasks in harness.values() for task, found in tasks.items() for name in found)
    raw = [[f"{task} {name}", *(tasks.get(task, {}).get(name) for tasks in harness.values())] for task, name in names]
    rows = [[row[0], *("–" if value is None else f"{value:.3f}" for value in row[1:])] for row in raw]
    return Table("harness", ["lm-evaluation-harness", *harness], rows, raw)
