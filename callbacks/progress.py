"""How far training is, with the two or three numbers that matter."""

from __future__ import annotations

from typing import Any

import lightning as L

from rlhf.progress import ProgressBar, on_terminal

SHORT = {"train/": "", "objective/": "", "policy/": "", "response/": "", "tokens_per_second": "tok/s"}


def short(name: str) -> str:
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def pretty(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class ProgressBars(L.Callback):
    """A bar for the steps, which tells the phase inside a step too (rollout, learning, validation); plain lines where
    the output is no terminal. A validation before training has a bar of its own.

    Args:
        every: steps between two lines.
    """

    def __init__(self, stage: str, every: int) -> None:
        self.stage, self.every = stage, every
        self.steps: ProgressBar | None = None
        self.validation: ProgressBar | None = None
        self.text = ""
        """The numbers as they were after the last step, which a phase of the next one does not change."""
        self.numbers: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self.steps = ProgressBar(self.stage, module.total_steps, module.step)
        self.steps.__enter__()
        module.on_progress = self._on_phase

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.steps is None:
            return
        self.numbers |= outputs["metrics"]
        self.steps(module.step)
        self._note(module)
        if module.step % self.every == 0 or module.step == 1 or module.done:
            self.steps.say()

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.is_global_zero and self.steps is None:
            self.validation = ProgressBar("validation")
            self.validation.__enter__()

    def on_validation_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        done, total = trainer._evaluation_loop.batch_progress.current.completed, sum(trainer.num_val_batches)
        if self.validation is not None:
            self.validation(done, int(total))
        elif self.steps is not None:
            self._on_phase("validation", done, int(total))

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self._close_validation()
        self.numbers |= module.val_metrics
        self._note(module)
        if module.val_metrics and not on_terminal():
            shown = "  ".join(f"{short(name)} {pretty(value)}" for name, value in self._chosen(module, "val/").items())
            print(f"{self.stage} {module.step}/{module.total_steps}  {shown}", flush=True)

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._close(type(exception))

    def _close(self, kind: type[BaseException] | None = None) -> None:
        self._close_validation(kind)
        if self.steps is not None:
            self.steps.__exit__(kind)
            self.steps = None

    def _close_validation(self, kind: type[BaseException] | None = None) -> None:
        if self.validation is not None:
            self.validation.__exit__(kind)
            self.validation = None

    def _on_phase(self, phase: str, done: int, total: int) -> None:
        if self.steps is not None:
            self.steps.note = "  ".join(part for part in (f"({phase} {done}/{total})", self.text) if part)

    def _note(self, module: Any) -> None:
        if self.steps is not None:
            self.steps.note = self.text = self._text(module)

    def _chosen(self, module: Any, prefix: str = "") -> dict[str, float]:
        return {n: self.numbers[n] for n in module.headline if n in self.numbers and n.startswith(prefix)}

    def _text(self, module: Any) -> str:
        chosen = self._chosen(module)
        if not on_terminal():  # a line has its own step, and the last validation another
            chosen = {name: value for name, value in chosen.items() if not name.startswith("val/")}
        speed = self.numbers.get("train/tokens_per_second")
        parts = [f"{short(name)} {pretty(value)}" for name, value in chosen.items()]
        return "  ".join(parts + ([f"{pretty(speed)} tok/s"] if speed else []))
