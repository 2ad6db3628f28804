"""Symptoms while a run is in progress, sent to Weights & Biases as alerts, once each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from rlhf.evaluation.findings import Finding
from rlhf.evaluation.symptoms import symptoms
from rlhf.reporting.run_files import read_rows, read_samples
from rlhf.reporting.sentences import describe
from tracking.wandb_tables import attempt, wandb_runs

TITLE = 63
"""Characters that W&B allows in a title."""


def send_alert(wandb_run: Any, finding: Finding) -> None:
    """Tell a W&B run of a symptom, and whose it is where several models are looked at."""
    title, reason, knob = describe(finding)
    title = f"{finding.subject}: {title}" if finding.subject else title
    attempt("an alert", lambda: wandb_run.alert(title=title[:TITLE], text=f"{reason} {knob}", level="WARN"))


class Alerts(L.Callback):
    """Looks at the run's own files after each validation. To come after the callbacks that write them.

    Args:
        directory: of the run.
        algo: its algorithm's name.
    """

    def __init__(self, directory: Path, algo: str) -> None:
        self.directory, self.algo = directory, algo
        self.told: set[str] = set()

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.is_global_zero and any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            self.tell(trainer, self.find())

    def find(self, final: dict[str, float] | None = None) -> list[Finding]:
        """The symptoms up to now."""
        return symptoms(read_rows(self.directory / "metrics.csv"), read_samples(self.directory), final, self.algo)

    def tell(self, trainer: L.Trainer, findings: Sequence[Finding]) -> None:
        """Send what was not sent before. A server that can't be reached is no reason to stop."""
        for finding in findings:
            if finding.code in self.told:
                continue
            self.told.add(finding.code)
            for wandb_run in wandb_runs(trainer):
                send_alert(wandb_run, finding)
