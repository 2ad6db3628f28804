"""A progress bar with the two or three numbers that matter; plain lines where the output is not a terminal."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHORT = {"train/": "", "objective/": "", "policy/": "", "response/": "", "tokens_per_second": "tok/s"}


def short(name: str) -> str:
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def pretty(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class ProgressBars(L.Callback):
    """One bar for the steps, one for the phase inside a step (rollout, learning) where a stage has phases."""

    def __init__(self, stage: str, every: int) -> None:
        self.stage, self.every = stage, every
        self.bars: Progress | None = None
        self.steps: TaskID | None = None
        self.phase: TaskID | None = None
        self.numbers: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        if sys.stderr.isatty():
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
            )
            self.bars = Progress(*columns, console=Console(stderr=True), transient=False)
            self.bars.start()
            self.steps = self.bars.add_task(self.stage, total=module.total_steps, completed=module.step, numbers="")
            if hasattr(module, "on_progress"):
                self.phase = self.bars.add_task("", total=1, visible=False, numbers="")
                module.on_progress = self._on_phase

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not trainer.is_global_zero:
            return
        self.numbers |= outputs["metrics"]
        text = self._text(module)
        if self.bars is not None and self.steps is not None:
            self.bars.update(self.steps, completed=module.step, numbers=text)
        elif module.step % self.every == 0 or module.step in (1, module.total_steps):
            print(f"{self.stage} {module.step}/{module.total_steps}  {text}", flush=True)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self.numbers |= module.val_metrics
        if self.bars is not None and self.steps is not None:
            self.bars.update(self.steps, numbers=self._text(module))
        elif module.val_metrics:
            shown = "  ".join(f"{short(name)} {pretty(value)}" for name, value in self._chosen(module, "val/").items())
            print(f"{self.stage} {module.step}/{module.total_steps}  {shown}", flush=True)

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bars is not None:
            if self.phase is not None:
                self.bars.update(self.phase, visible=False)
            self.bars.stop()
            self.bars = None

    def _on_phase(self, phase: str, done: int, total: int) -> None:
        if self.bars is not None and self.phase is not None:
            self.bars.update(self.phase, description=f"  {phase}", completed=done, total=total, visible=True)

    def _chosen(self, module: Any, prefix: str = "") -> dict[str, float]:
        return {n: self.numbers[n] for n in module.headline if n in self.numbers and n.startswith(prefix)}

    def _text(self, module: Any) -> str:
        chosen = self._chosen(module)
        if self.bars is None:  # a line has its own step, and the last validation another
            chosen = {name: value for name, value in chosen.items() if not name.startswith("val/")}
        speed = self.numbers.get("train/tokens_per_second")
        parts = [f"{short(name)} {pretty(value)}" for name, value in chosen.items()]
        return "  ".join(parts + ([f"{pretty(speed)} tok/s"] if speed else []))
