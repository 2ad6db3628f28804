"""Carries a stage's numbers to the loggers, at the step they belong to."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger

from tracking.csv_logger import CSVMetrics
from tracking.wandb_tables import axes


class Metrics(L.Callback):
    """Logs the first and the last step and every `every` steps between, and each validation.

    Lightning's own logging counts optimiser updates; here a step of PPO is an iteration of many updates, so steps are
    taken from the module.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, CSVMetrics):
                logger.restart(module.step)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.step % self.every == 0 or module.step == 1 or module.done:
            self._log(trainer, module, outputs["metrics"], module.step)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        self._log(trainer, module, module.val_metrics, module.step)

    def _log(self, trainer: L.Trainer, module: Any, metrics: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            if metrics:
                more = axes(module) if isinstance(logger, WandbLogger) else {}
                logger.log_metrics({**metrics, **more}, step=step)
