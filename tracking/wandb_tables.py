"""Weights & Biases beyond curves: step axes, the configuration, and what the policy wrote, as tables and histograms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from rlhf.storage.reading import read_json_lines

log = logging.getLogger("rlhf")

STEP, EPISODES, EXAMPLES, TOKENS = "trainer/step", "episodes", "examples", "tokens"
"""Axes: steps as everywhere else; answers sampled by on-policy algorithms, or examples read by others; tokens."""
HISTOGRAMS = {"tokens": "samples/length", "score": "samples/score", "kl": "samples/kl"}
COLUMNS = ("step", "prompt", "response", "tokens", "finished", "score", "kl")


def wandb_runs(trainer: L.Trainer) -> Iterator[Any]:
    """The W&B run of each such logger; none on other ranks than the first."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                yield logger.experiment


def axes(module: Any) -> dict[str, float]:
    """The run's position on every axis."""
    config = module.config
    seen = EPISODES if config.algo.on_policy else EXAMPLES
    return {STEP: module.step, seen: module.step * config.train.batch_size, TOKENS: module.trained_tokens}


def attempt(what: str, send: Callable[..., object], *args: Any) -> None:
    """A server, or its library, is no reason for a run to stop."""
    try:
        send(*args)
    except Exception as error:
        log.warning("W&B: %s could not be sent: %s", what, " ".join(str(error).split())[:200])


class WandbTables(L.Callback):
    """To come after the callback that writes `samples.jsonl`.

    Args:
        directory: of the run.
        config: plain dictionaries, shown beside the curves.
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.path, self.config = directory / "samples.jsonl", config
        self.prepared = False

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        if self.prepared:
            return
        self.prepared = True
        for run in wandb_runs(trainer):
            attempt("the configuration", self.prepare, run)

    def prepare(self, run: Any) -> None:
        """Every metric is drawn over `trainer/step`, unless one chooses another axis."""
        for axis in (STEP, EPISODES, EXAMPLES, TOKENS):
            run.define_metric(axis, hidden=True)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.config.update(self.config, allow_val_change=True)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        rows = self.rows(module.step)
        for run in wandb_runs(trainer):
            if rows:
                attempt("samples", self.show, run, rows, axes(module))

    def show(self, run: Any, rows: Sequence[dict[str, Any]], at: dict[str, float]) -> None:
        """Log a table and histograms of these samples."""
        run.log({**media(rows), **at})

    def rows(self, step: int) -> list[dict[str, Any]]:
        """What was written at this step."""
        if not self.path.exists():
            return []
        return [row for row in read_json_lines(self.path) if row.get("step") == step]


def as_text(turns: Sequence[Sequence[str]]) -> str:
    """A prompt, turns of (role, text), in one cell of a table."""
    return "\n\n".join(text if len(turns) == 1 else f"{role}: {text}" for role, text in turns)


def media(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A table of the samples, and a histogram of each of their numbers."""
    import wandb

    columns: list[Any] = [name for name in COLUMNS if any(name in row for row in rows)]
    table = wandb.Table(columns=columns)
    for row in rows:
        table.add_data(*({**row, "prompt": as_text(row["prompt"])}.get(name) for name in columns))
    numbers = {shown: [row[name] for row in rows if name in row] for name, shown in HISTOGRAMS.items()}
    return {"samples": table} | {name: wandb.Histogram(values) for name, values in numbers.items() if values}
