"""Dashboards of Weights & Biases as code: a workspace (overview, PPO's health, sweep) and a report."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError, UserError
from rlhf.runs import atomic_write_json
from rlhf.storage.reading import Unreadable, read_json
from tracking.wandb_tables import EPISODES, STEP, TOKENS

WORKSPACE, REPORT = "RLHF lab", "RLHF lab: what alignment did"

OVERVIEW: Mapping[str, Sequence[str]] = {
    "Loss": ("train/loss", "val/loss"),
    "Reward model: accuracy": ("val/accuracy", "val/accuracy_low", "val/accuracy_high"),
    "Reward model: calibration": ("val/calibration_error",),
    "Score on held-out prompts": ("val/score",),
    "KL to the reference (nats per response)": ("val/kl",),
    "Length of responses (tokens)": ("val/length",),
    "Speed (tokens per second)": ("train/tokens_per_second",),
}
HEALTH: Mapping[str, Sequence[str]] = {
    "Score": ("objective/score", "objective/total_reward"),
    "KL (k1 and k3)": ("objective/kl", "objective/kl3"),
    "Price of KL": ("objective/kl_coef",),
    "Entropy (nats per token)": ("policy/entropy",),
    "Length": ("response/length",),
    "Ended by themselves": ("response/eos_rate",),
    "Critic: explained variance": ("value/explained_variance",),
    "Clip fractions": ("policy/clip_fraction", "value/clip_fraction"),
    "Approximate KL of an update": ("policy/approx_kl",),
    "Gradient norms": ("train/grad_norm_policy", "train/grad_norm_critic"),
}
SWEPT = ("algo.kl_coef", "algo.beta", "algo.lr", "seed")
"""Configuration keys that a sweep's parallel coordinates show."""
RESULTS = ("val/score", "val/kl", "val/length")

JUDGED = ("eval/win_rates", "eval/answers")
"""Tables of `evaluate.py`."""


@dataclass(frozen=True)
class Place:
    """Where the dashboards go; `entity` is `None` without a login."""

    project: str
    entity: str | None = None


def lines(wr: Any, charts: Mapping[str, Sequence[str]], x: str) -> list[Any]:
    """A line plot a chart."""
    return [wr.LinePlot(title=title, x=x, y=list(metrics)) for title, metrics in charts.items()]


def sweep(wr: Any) -> list[Any]:
    """What was chosen beside what came out."""
    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in SWEPT]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name)) for name in RESULTS]
    frontier = {"x": wr.SummaryMetric("val/kl"), "y": wr.SummaryMetric("val/score")}
    return [
        wr.ParallelCoordinatesPlot(title="Choices and results", columns=columns),
        wr.ScatterPlot(title="Score against KL, a point a run", **frontier),
        wr.ParameterImportancePlot(with_respect_to="val/score"),
        wr.RunComparer(diff_only="split"),
    ]


def judged(wr: Any) -> list[Any]:
    """Evaluations: who wins, and the answers side by side."""
    return [wr.WeavePanelSummaryTable(table_name=name) for name in JUDGED]


def workspace(place: Place) -> Any:
    """The workspace, not sent yet."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name="Overview", panels=lines(wr, OVERVIEW, STEP), is_open=True),
        ws.Section(name="PPO health", panels=lines(wr, HEALTH, EPISODES), is_open=True),
        ws.Section(name="Sweep", panels=sweep(wr), is_open=True),
        ws.Section(name="Evaluation", panels=judged(wr), is_open=True),
        ws.Section(
            name="Over tokens",
            panels=lines(wr, {"Loss": ("train/loss", "val/loss"), "Score": ("objective/score",)}, TOKENS),
            is_open=False,
        ),
    ]
    return ws.Workspace(entity=place.entity or "", project=place.project, name=WORKSPACE, sections=sections)


def report(place: Place) -> Any:
    """The report, not sent yet. Without an entity its run sets name no project: looking one up needs the server."""
    import wandb_workspaces.reports.v2 as wr

    def runs() -> Any:
        return wr.Runset(entity=place.entity or "", project=place.project if place.entity else "", name="runs")

    def grid(panels: list[Any]) -> Any:
        return wr.PanelGrid(runsets=[runs()], panels=panels)

    blocks = [
        wr.TableOfContents(),
        wr.H1("Overview"),
        wr.P("Every stage over its own steps. Validation is on held-out prompts."),
        grid(lines(wr, OVERVIEW, STEP)),
        wr.H1("PPO health"),
        wr.P(
            "A score that rises while KL or length runs away is a reward model being fooled; an explained variance at "
            "or below zero is a critic that has learned nothing; entropy near zero is a policy that says one thing."
        ),
        grid(lines(wr, HEALTH, EPISODES)),
        wr.H1("Sweep"),
        wr.P("Which coefficient, at which price in KL."),
        grid(sweep(wr)),
        wr.H1("Evaluation"),
        wr.P("Paired win rates with 95% intervals, and what the models say to the same prompts."),
        grid(judged(wr)),
    ]
    about = "Made by dashboard.py; changes by hand are lost when it runs again."
    return wr.Report(project=place.project, entity=place.entity or "", title=REPORT, description=about, blocks=blocks)


def as_json(dashboard: Any) -> dict[str, Any]:
    """What would be sent of a workspace or a report."""
    content: dict[str, Any] = json.loads(dashboard._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return content


def logged_in_as() -> str | None:
    """The default entity of the account whose key is set; `None` without one, or without a connection."""
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    try:
        return wandb.Api(timeout=10).default_entity or None
    except Exception:  # no key, no network, a server that is not one: all mean offline
        return None


def publish(place: Place, outputs: Path, offline: bool) -> list[str]:
    """Make the workspace and the report, or update those of an earlier time; offline, write what would be sent.

    Returns:
        Addresses, or paths of files.

    Raises:
        ConfigError: `wandb-workspaces` is not installed.
        UserError: the server refused.
    """
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise ConfigError("dashboard.py needs wandb-workspaces; pip install -e '.[dashboard]'") from error
    entity = None if offline else place.entity or logged_in_as()
    if entity is None:
        return _write(Place(place.project, place.entity), outputs)
    place = Place(place.project, entity)
    known_file = outputs / ".dashboards.json"
    known = _known(known_file)
    found = []
    for name, made in (("workspace", workspace(place)), ("report", report(place))):
        key = f"{name} {place.entity}/{place.project}"
        try:
            saved = _update(made, known[key]) if key in known else made.save()
        except Exception as error:
            raise UserError(f"W&B refused the {name}: {' '.join(str(error).split())[:300]}") from error
        known[key] = saved.url
        found.append(saved.url)
        outputs.mkdir(parents=True, exist_ok=True)
        atomic_write_json(known_file, known)
    return found


def _update(made: Any, url: str) -> Any:
    """The content of `made` at the address of the one before, or anew where that was deleted."""
    try:
        before = type(made).from_url(url)
    except ValueError:
        return made.save()
    for name in ("sections", "blocks", "title", "name", "description"):
        if hasattr(made, name):
            setattr(before, name, getattr(made, name))
    return before.save()


def _write(place: Place, outputs: Path) -> list[str]:
    folder = outputs / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    # Run sets of a report look their project up, so offline none is named.
    nobody = Place(place.project)
    found = []
    for name, made in (("workspace", workspace(place)), ("report", report(nobody))):
        path = folder / f"{name}.json"
        atomic_write_json(path, as_json(made))
        found.append(str(path))
    return found


def _known(file: Path) -> dict[str, str]:
    """Addresses of what was saved before; a damaged file has none, and a new workspace is made."""
    try:
        content = read_json(file)
    except (OSError, Unreadable):
        return {}
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}
