"""Learning curves, distributions, calibration and the frontier as charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median_high
from typing import Any, Literal

from rlhf.config import algorithms, of_assistants
from rlhf.evaluation.findings import Finding, by_step, series
from rlhf.reporting.charts.chart import Annotation, Chart, Line, Palette, Parallel, histogram, thin, ticks
from rlhf.reporting.charts.frontier import Mean, Point, mean_of
from rlhf.reporting.contents import EvaluationData, Material, RunData
from rlhf.reporting.strings import text
from rlhf.runs.titles import brief

FIRST = (
    "val/score",
    "val/kl",
    "val/length",
    "val/entropy",
    "objective/score",
    "objective/kl",
    "response/length",
    "policy/entropy",
    "value/explained_variance",
    "policy/clip_fraction",
    "val/accuracy",
    "val/first_wrong_accuracy",
    "val/margin",
    "val/loss",
    "val/calibration_error",
    "train/loss",
    "train/accuracy",
    "val/chosen_logprob",
    "val/bits_per_byte",
)
"""Metrics that are shown at once, in this order; the rest unfolds."""
BINS = 24
CROWD = 3
"""Runs whose every point can show its interval; of more, the last points do."""
FAR = 3


def curves(material: Material, palette: Palette) -> dict[str, tuple[list[Chart], list[Chart]]]:
    """Charts by stage: the main ones, and all others."""
    found = {}
    # What was made last is what people look for first.
    present = dict.fromkeys(run.algo for run in material.runs)
    known = [algo for algo in algorithms() if algo in present]
    for algo in [*(algo for algo in present if algo not in known), *reversed(known)]:
        groups = {
            label: runs for label, runs in material.groups().items() if runs and runs[0].algo == algo and runs[0].rows
        }
        names = dict.fromkeys(name for runs in groups.values() for run in runs for row in run.rows for name in row)
        names.pop("step", None)
        first = [name for name in FIRST if name in names]
        rest = sorted(name for name in names if name not in FIRST)
        charts = {name: _curve(algo, name, groups, palette) for name in [*first, *rest]}
        drawn = {name: chart for name, chart in charts.items() if chart is not None}
        found[algo] = [drawn[n] for n in first if n in drawn], [drawn[n] for n in rest if n in drawn]
    return found


def _curve(algo: str, name: str, groups: dict[str, list[RunData]], palette: Palette) -> Chart | None:
    lines = []
    for label, runs in groups.items():
        tracks = [track for run in runs if (track := series(run.rows, name))]
        if not tracks:
            continue
        steps = [step for step, _ in tracks[0]]
        if len(tracks) > 1:
            common = sorted(set.intersection(*({step for step, _ in track} for track in tracks)))
            tables = [dict(track) for track in tracks]
            means = [mean_of([table[step] for table in tables]) for step in common]
            known = [mean for mean in means if mean is not None]
            values = [m.value for m in known]
            lines.append(Line(label, palette(label), common, values, [m.low for m in known], [m.high for m in known]))
        else:
            xs, ys = thin([float(s) for s in steps], [value for _, value in tracks[0]])
            lines.append(Line(label, palette(label), xs, ys))
    # A single value is in the table.
    if not lines or max(len(line.xs) for line in lines) < 2:
        return None
    id = f"{algo}-{name.replace('/', '-')}"
    return Chart(id, (name, name), text("step"), ("", ""), lines)


def frontier_charts(points: Sequence[Point], palette: Palette) -> tuple[list[Chart], list[Point]]:
    """Reward and judge's score against KL, and the point of each label that lies too far out to be drawn.

    One run whose KL ran away must not squeeze all others into a corner: what is beyond three times the KL that the
    middle one of them reaches is left out. Best-of-n stands for a run.
    """
    reached: dict[str, float] = {}
    for point in points:
        if point.source != "evaluation":
            reached[point.label] = max(point.kl, reached.get(point.label, 0.0))
    limit = FAR * max(median_high(reached.values()), 1.0) if reached else math.inf
    near = [p for p in points if p.kl <= limit]
    beyond = sorted((p for p in points if p.kl > limit), key=lambda p: p.kl)
    far = list({(p.source, p.label): p for p in beyond}.values())
    found = []
    for measure, axis, title in (("reward", "reward_axis", "reward_kl"), ("gold", "gold_axis", "gold_kl")):
        lines = list(_frontier_lines(near, {p.label for p in far}, measure, palette))
        if any(len(line.xs) > 1 or line.kind == "diamonds" for line in lines):
            found.append(Chart(f"frontier-{measure}", text(title), text("kl_axis"), text(axis), lines, root=True))
    return found, far


def _frontier_lines(points: Sequence[Point], away: set[str], measure: str, palette: Palette) -> Iterator[Line]:
    """`away`: labels whose end is not among the points."""
    crowded = len({p.label for p in points if p.source == "training"}) > CROWD
    training: Literal["dots", "path"] = "path" if crowded else "dots"
    kinds: tuple[tuple[str, Literal["dots", "path", "diamonds"]], ...] = (
        ("best_of_n", "dots"),
        ("training", training),
        ("evaluation", "diamonds"),
    )
    for source, kind in kinds:
        labels = dict.fromkeys(p.label for p in points if p.source == source)
        for label in labels:
            here = [p for p in points if p.source == source and p.label == label]
            known = [(p, mean) for p in here if (mean := getattr(p, measure)) is not None]
            if known:
                bare = 0 if kind != "path" else len(known) - 1 if label not in away else len(known)
                yield Line(
                    label,
                    palette(label),
                    [p.kl for p, _ in known],
                    [mean.value for _, mean in known],
                    [None] * bare + [mean.low for _, mean in known[bare:]],
                    [None] * bare + [mean.high for _, mean in known[bare:]],
                    [_note(p, mean) for p, mean in known],
                    "trail" if kind == "path" and label in away else kind,
                    bound=source == "best_of_n",
                )


def _note(point: Point, mean: Mean) -> str:
    place = f"step {point.step}" if point.step is not None else f"n = {point.n}" if point.n is not None else ""
    interval = f" ({mean.low:.2f} – {mean.high:.2f})" if mean.low is not None and mean.high is not None else ""
    kl = f"KL {'≤ ' if point.source == 'best_of_n' else ''}{point.kl:.2f}"
    return " · ".join(part for part in (point.label, place, kl, f"{mean.value:.2f}{interval}") if part)


def over_optimised(runs: Sequence[tuple[RunData, Finding]], palette: Palette) -> list[Chart]:
    """Reward and judge's score over the steps of runs in which they part, with the step at which that sets in."""
    found: list[Chart] = []
    for run, finding in runs:
        marks = [Annotation(float(finding.step or 0), text("sets_in"))]
        for field, title, axis in (("score", "over_reward", "reward_axis"), ("gold", "over_gold", "gold_axis")):
            means = {
                step: mean
                for step, group in by_step(run.samples).items()
                if (mean := mean_of([float(s[field]) for s in group if isinstance(s.get(field), int | float)]))
            }
            lows, highs = [m.low for m in means.values()], [m.high for m in means.values()]
            values = [m.value for m in means.values()]
            line = Line(run.label, palette(run.label), list(means), values, lows, highs)
            id = f"over-{field}-{len(found) // 2}"
            found.append(Chart(id, text(title, name=run.name), text("step"), text(axis), [line], marks))
    return found


def parallel(material: Material, palette: Palette) -> Parallel | None:
    """Settings that vary and the results, for the stage with the most runs; `None` where nothing is swept."""
    algos = [run.algo for run in material.runs]
    if material.kind != "sweep" or not material.varied:
        return None
    algo = max(dict.fromkeys(algos), key=algos.count)
    runs = [run for run in material.runs if run.algo == algo]
    settings = [name for name in material.varied if any(name in run.settings for run in runs)]
    if len(runs) < 2 or not settings:
        return None
    results = [name for name in FIRST if sum(name in run.summary.final for run in runs) > 1][:4]
    axes: list[tuple[str, list[Any]]] = [
        (brief(name), [_plain(run.settings.get(name)) for run in runs]) for name in settings[:6]
    ]
    if len({run.summary.seed for run in runs}) > 1:
        axes.append(("seed", [run.summary.seed for run in runs]))
    axes += [(name, [run.summary.final.get(name) for run in runs]) for name in results]
    labels = [run.name for run in runs]
    return Parallel("parallel", text("parallel"), axes, labels, [palette(run.label) for run in runs])


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def distributions(groups: dict[str, dict[str, list[float]]], palette: Palette) -> list[Chart]:
    """Histograms of each number, one outline a group.

    Args:
        groups: number (tokens, score, …) → group → values.
    """
    found = []
    for name, values in groups.items():
        everything = [v for mine in values.values() for v in mine]
        if len(set(everything)) < 2:
            continue
        low, high = min(everything), max(everything)
        marks = ticks(low, high, BINS)
        step = marks[1] - marks[0] if len(marks) > 1 else (high - low) / BINS
        if name == "tokens":
            step = max(1.0, round(step))
        start = step * (low // step)
        edges = [start + i * step for i in range(int((high - start) // step) + 2)]
        lines = [
            Line(label, palette(label), edges, histogram(mine, edges), kind="steps")
            for label, mine in values.items()
            if mine
        ]
        axis = text("tokens") if name == "tokens" else text(f"dist_{name}")
        found.append(Chart(f"distribution-{name}", text(f"dist_{name}"), axis, text("share"), lines))
    return found


def numbers_of(material: Material) -> dict[str, dict[str, list[float]]]:
    """The values whose distributions are drawn: an evaluation's answers, else the last and the first samples of
    runs."""
    if material.evaluation is not None:
        return _of_evaluation(material.evaluation)
    found: dict[str, dict[str, list[float]]] = {}
    for run in material.runs:
        groups = list(by_step(run.samples).values())
        if not groups or (run.algo in algorithms() and run.algo not in of_assistants()):
            continue
        first = "step 0" if len(material.runs) == 1 else "start"
        for label, group in ((first, groups[0]), (run.label, groups[-1])):
            for name, column in (("tokens", "tokens"), ("gold", "gold"), ("reward", "score"), ("kl", "kl")):
                values = [float(s[column]) for s in group if isinstance(s.get(column), int | float)]
                # The starts of all runs are the same answers.
                if values and not (label == first and label in found.get(name, {})):
                    found.setdefault(name, {}).setdefault(label, []).extend(values)
    return found


def _of_evaluation(evaluation: EvaluationData) -> dict[str, dict[str, list[float]]]:
    names = dict.fromkeys(name for line in evaluation.answers for name in line.get("answers", {}))
    found: dict[str, dict[str, list[float]]] = {}
    for name in ("tokens", "score", "reward"):
        groups = {model: values for model in names if (values := evaluation.values(model, name))}
        if groups:
            found[name] = groups
    return found


def calibration_chart(record: Any) -> Chart | None:
    """Predicted against observed probability.

    Args:
        record: `calibration` of an evaluation's reward model: `bins` of `said`, `happened` and `weight`.
    """
    bins = record.get("bins") if isinstance(record, dict) else None
    if not bins:
        return None
    notes = [f"{b['said']:.2f} → {b['happened']:.2f} ({b['weight']:.0f})" for b in bins]
    said, happened = [b["said"] for b in bins], [b["happened"] for b in bins]
    diagonal = Line("y = x", 7, [0.0, 1.0], [0.0, 1.0], bound=True)
    points = Line("reward model", 0, said, happened, notes=notes, kind="dots")
    return Chart("calibration", text("calibration"), text("predicted"), text("observed"), [diagonal, points])
