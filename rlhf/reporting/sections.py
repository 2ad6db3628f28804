"""The page's text about runs and evaluations, section by section."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf.evaluation.findings import Finding
from rlhf.evaluation.overoptimisation.fits_table import fits_table
from rlhf.evaluation.rounds import rounds_table
from rlhf.reporting import tables
from rlhf.reporting.browser import browser
from rlhf.reporting.charts import curves, overoptimisation, rounds
from rlhf.reporting.charts.chart import Forest, Palette, Text
from rlhf.reporting.charts.frontier import Point, points
from rlhf.reporting.contents import Material, RunData, flat
from rlhf.reporting.page import Page, Section
from rlhf.reporting.spot_check import spot_check_sections
from rlhf.reporting.strings import STRINGS, text
from rlhf.reporting.tables import Table
from rlhf.runs.titles import comparison_title, run_title, shown, versus_title

MAX_PARENTS = 4
"""More of them are in the run directories; a reader of a sweep wants to know what its runs share."""


def build(material: Material) -> Page:
    """Everything that there is to say; sections without content are left out."""
    palette, placed = Palette(), points(material)
    # Colours follow this order: models of the evaluation first, then runs.
    for label in (*(material.evaluation.models if material.evaluation else ()), *material.groups()):
        palette(label)
    found = findings(material)
    sections = [
        Section("warnings", text("warnings"), findings=found, paragraphs=[] if found else [text("no_warnings")]),
        Section("what", text("what"), facts=facts(material), tables=_run_tables(material)),
        *_headline(material),
        *_wins(material),
        *_frontier(material, placed, found, palette),
        *_rounds(material),
        *_gold_and_proxy(material, palette),
        *_parallel(material, palette),
        *_calibration(material),
        *spot_check_sections(material, palette),
        *_curves(material, palette),
        *_distributions(material, palette),
        *_samples(material),
        _configuration(material),
    ]
    loose = [tables.frontier_table(placed)] if placed else []
    loose += [tables.metrics_table(material)] if material.runs else []
    return Page(material, text(f"title_{material.kind}"), title_of(material), sections, loose)


def title_of(material: Material) -> str:
    """What is compared, or trained; the folder's name where nothing is known of it."""
    summaries = [run.summary for run in material.runs] + [summary for _, summary in material.failed]
    evaluation = material.evaluation
    if evaluation is not None and (material.kind == "evaluation" or not summaries):
        data = str(evaluation.config.get("data", {}).get("name", ""))
        found = versus_title(evaluation.models or ["reward model"], [s.model for s in summaries], data)
    elif material.kind == "run":
        found = run_title(material.runs[0].summary)
    else:
        found = comparison_title(summaries, material.varied)
    return found or material.path.name


def findings(material: Material) -> list[tuple[str, Finding]]:
    """Symptoms of every run and model, with whose they are."""
    found = [(run.name, finding) for run in material.runs for finding in run.findings()]
    if material.evaluation is not None:
        # A symptom of a run is not repeated for its model.
        said = {(name, finding.code) for name, finding in found}
        found += [(f.subject, f) for f in material.evaluation.findings() if (f.subject, f.code) not in said]
    return found


def facts(material: Material) -> list[tuple[Text | str, Text | str]]:
    """What was compared, and how."""
    found: list[tuple[Text | str, Text | str]] = []
    if (evaluation := material.evaluation) is not None:
        known = {str(run.path) for run in material.runs}
        found += [(name, str(m.get("run"))) for name, m in evaluation.models.items() if str(m.get("run")) not in known]
        record, config = evaluation.record, evaluation.config
        judge, told = str(record.get("judge")), record.get("facts") or {}
        known_judge = f"judge_{judge}" in STRINGS
        found.append((text("judge"), text(f"judge_{judge}") if known_judge else str(told.get("judge", judge))))
        if record.get("reference"):
            found.append((text("reference"), str(record["reference"])))
        # Those in backticks name models, and the others are told above and below.
        said = ("prompts", "samples", "judge", "reference")
        found += [(name, str(value)) for name, value in told.items() if name not in said and not name.startswith("`")]
        counts = dict.fromkeys(str(model["n"]) for model in evaluation.models.values() if "n" in model)
        data = config.get("data", {}).get("name", "")
        if counts:
            found.append((text("prompts"), f"{', '.join(counts)} · {data}"))
        if counts and (temperature := config.get("rollout", {}).get("temperature")) is not None:
            found.append((text("sampling"), text("temperature", t=temperature)))
    for key, values in material.varied.items():
        found.append((text("swept"), f"{key} = {', '.join(shown(value) for value in values)}"))
    seeds = sorted({run.summary.seed for run in material.runs})
    if seeds:
        found.append((text("seeds"), ", ".join(map(str, seeds))))
    parents = {
        p["directory"]: key for run in material.runs for key, p in run.summary.parents.items() if p.get("directory")
    }
    shared = [f"{key} = {folder}" for folder, key in parents.items()]
    if material.kind != "evaluation" and 0 < len(shared) <= 4:
        found += [(text("built_on"), parent) for parent in shared]
    if material.kind == "run":
        found.append((text("overrides"), " ".join(material.runs[0].summary.overrides) or "–"))
    versions = next((run.summary.versions for run in material.runs), None)
    if versions:
        found.append((text("versions"), ", ".join(f"{name} {v}" for name, v in versions.items())))
    for path, summary in material.failed:
        found.append((text("failed"), f"{run_title(summary)}: {summary.status} {summary.error or ''} ({path})"))
    return [*found, (text("path"), str(material.path))]


def _run_tables(material: Material) -> list[Table]:
    return [tables.runs_table(material)] if material.runs else []


def _headline(material: Material) -> list[Section]:
    shown, paragraphs = [], []
    if (evaluation := material.evaluation) is not None:
        if evaluation.models:
            shown.append(tables.models_table(evaluation))
            paragraphs.append(text("headline_models", reference=str(evaluation.record.get("reference"))))
        if evaluation.record.get("harness"):
            shown.append(tables.harness_table(evaluation))
    if material.kind == "sweep":
        algos = dict.fromkeys(run.algo for run in material.runs)
        shown += [tables.groups_table(algo, material) for algo in algos]
        paragraphs += [text("headline_runs")] if algos else []
    if material.kind == "run":
        shown.append(tables.first_last_table(material.runs[0]))
    return [Section("headline", text("headline"), tables=shown, paragraphs=paragraphs)] if shown else []


def _wins(material: Material) -> list[Section]:
    evaluation = material.evaluation
    rates = evaluation.record.get("win_rates") if evaluation is not None else None
    if evaluation is None or not rates:
        return []
    rows = [(pair, r["rate"], r["low"], r["high"], f"{r['low']:.1%} – {r['high']:.1%}") for pair, r in rates.items()]
    forest = Forest("win_rates", text("win_rates"), rows)
    table = tables.wins_table(evaluation)
    return [
        Section("wins", text("win_rates"), tables=[table], charts=[forest], paragraphs=[text("win_note")], wide=True)
    ]


def _frontier(
    material: Material, placed: Sequence[Point], found: Sequence[tuple[str, Finding]], palette: Palette
) -> list[Section]:
    charts, far = curves.frontier_charts(placed, palette)
    if not charts:
        return []
    over = {point.over for point in placed}
    key = "over_both" if len(over) > 1 else f"over_{over.pop()}"
    paragraphs = [text("frontier_note", over=text(key))]
    if far:
        paragraphs.append(text("outside", what=", ".join(f"{p.label} (KL {p.kl:.1f})" for p in far)))
    sections = [Section("frontier", text("frontier"), charts=charts, paragraphs=paragraphs, wide=True)]
    parted = [
        (run, finding)
        for run in material.runs
        for name, finding in found
        if name == run.name and finding.code in ("over_optimised", "opposed")
    ]
    if parted:
        charts = curves.over_optimised(parted[:4], palette)
        sections.append(Section("over", text("over_title"), charts=charts, paragraphs=[text("over_note")], wide=True))
    return sections


def _rounds(material: Material) -> list[Section]:
    points = material.evaluation.record.get("rounds") if material.evaluation is not None else None
    if not points:
        return []
    table, note = tables.Table("rounds", *rounds_table(points)), text("rounds_note")
    return [
        Section("rounds", text("rounds"), tables=[table], charts=rounds.charts(points), paragraphs=[note], wide=True)
    ]


def _gold_and_proxy(material: Material, palette: Palette) -> list[Section]:
    tracks = material.evaluation.record.get("overoptimisation") if material.evaluation is not None else None
    if not tracks:
        return []
    head, rows = fits_table(tracks)
    table = tables.Table("overoptimisation", head, rows)
    charts, note = overoptimisation.charts(tracks, palette), text("gold_proxy_note")
    return [Section("gold_proxy", text("gold_proxy"), tables=[table], charts=charts, paragraphs=[note], wide=True)]


def _parallel(material: Material, palette: Palette) -> list[Section]:
    chart = curves.parallel(material, palette)
    return [Section("parallel", text("parallel"), charts=[chart], paragraphs=[text("parallel_note")])] if chart else []


def _calibration(material: Material) -> list[Section]:
    evaluation = material.evaluation
    record = evaluation.record.get("reward_model") if evaluation is not None else None
    if evaluation is None or not record or "accuracy" not in record:
        return []
    percent = {name: f"{record[name]:.1%}" for name in ("accuracy", "low", "high")}
    best = record.get("ceiling")
    ceiling: Text = text("ceiling", ceiling=f"{best:.1%}") if best is not None else ("", "")
    paragraphs = [text("accuracy_text", **percent, n=record.get("n", "?"), ceiling=ceiling)]
    bias = record.get("length_bias") or {}
    if bias.get("prefers_longer") is not None:
        shares = {"prefers": f"{bias['prefers_longer']:.1%}", "labels": f"{bias['labels_prefer_longer']:.1%}"}
        paragraphs.append(text("length_bias_text", n=bias["n"], **shares))
    if (members := record.get("agreement") or {}).get("pairwise") is not None:
        shares = {name: f"{members[name]:.1%}" for name in ("pairwise", "unanimous")}
        paragraphs.append(text("agreement_text", **shares))
    chart = curves.calibration_chart(record.get("calibration"))
    slices = tables.slices_table(evaluation)
    if chart is not None:
        paragraphs.append(text("calibration_note"))
    return [
        Section(
            "calibration",
            text("calibration"),
            charts=[chart] if chart else [],
            paragraphs=paragraphs,
            tables=[slices] if slices.rows else [],
        )
    ]


def _curves(material: Material, palette: Palette) -> list[Section]:
    found = []
    for algo, (first, rest) in curves.curves(material, palette).items():
        title = text("curves_of", algo=algo)
        several = any(len(runs) > 1 for runs in material.groups().values() if runs[0].algo == algo)
        if first or rest:
            note = [text("curves_note")] if several else []
            found.append(Section(f"curves-{algo}", title, charts=first, unfold=rest, paragraphs=note))
    return found


def _distributions(material: Material, palette: Palette) -> list[Section]:
    charts = curves.distributions(curves.numbers_of(material), palette)
    return [Section("distributions", text("distributions"), charts=charts)] if charts else []


def _samples(material: Material) -> list[Section]:
    data = browser(material)
    if not data["items"]:
        return []
    paragraphs = [text("samples_note", n=len(data["items"]), scores=", ".join(data["by"]) or "–")]
    if data["all"] > len(data["items"]):
        paragraphs.append(text("samples_cut", n=len(data["items"]), all=data["all"]))
    return [Section("samples", text("samples"), paragraphs=paragraphs, browser=data)]


def _configuration(material: Material) -> Section:
    shown = tables.differences_table(material)
    run: RunData | None = material.runs[-1] if len(material.runs) == 1 else None
    paragraphs = [text("no_differences")] if not shown.rows and len(material.runs) > 1 else []
    config = "\n".join(f"{key} = {value}" for key, value in run.settings.items()) if run is not None else ""
    if material.evaluation is not None:
        config = "\n".join(f"{key} = {value}" for key, value in flat(material.evaluation.config))
    return Section(
        "configuration",
        text("configuration"),
        tables=[shown] if shown.rows else [],
        paragraphs=paragraphs,
        config=config,
    )
