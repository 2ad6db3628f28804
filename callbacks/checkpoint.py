"""Checkpoints at step boundaries, whole or not at all; and an orderly stop on Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L

from rlhf.errors import TrainingError
from rlhf.runs.checkpoints import checkpoint_path, checkpoints, set_aside, write_checkpoint


class Interrupted(BaseException):
    """Ctrl-C: not an `Exception`, so that nothing on the way takes it for an error that it could handle."""


class Checkpoint(L.Callback):
    """Saves every `every` steps and after the last one, keeps the newest `keep`.

    A checkpoint that falls on a validation is written after it, so that a resumed run has the validation's numbers.
    The first Ctrl-C finishes the step, saves and stops; the second stops at once.
    """

    def __init__(self, directory: Path, every: int, keep: int) -> None:
        self.directory, self.every, self.keep = directory, every, keep
        self.stop_asked = False
        self._before: Any = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.is_global_zero:
            set_aside(self.directory, module.step)
        self._before = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self._restore_handler()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._restore_handler()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        stop = trainer.strategy.reduce_boolean_decision(self.stop_asked, all=False)
        if stop:
            self.save(trainer, module)
            raise Interrupted(f"stopped after step {module.step}")
        validates = trainer.datamodule.validates_at(module.step, module.total_steps)  # type: ignore[attr-defined]
        if self.due(module) and not validates:
            self.save(trainer, module)

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.state.fn == "fit" and self.due(module):
            self.save(trainer, module)

    def due(self, module: Any) -> bool:
        return module.step % self.every == 0 or module.step >= module.total_steps

    def save(self, trainer: L.Trainer, module: Any) -> None:
        """Collect the state from all ranks and write it from the first.

        Raises:
            TrainingError: it can't be written.
        """
        state = module.full_state()
        if trainer.is_global_zero:
            path = checkpoint_path(self.directory, module.step)
            try:
                write_checkpoint(path, state)
                for old in checkpoints(self.directory)[: -self.keep]:
                    old.unlink()
            except (OSError, RuntimeError) as error:
                self._refuse(path, error)
        trainer.strategy.barrier("checkpoint")

    def _refuse(self, path: Path, error: OSError | RuntimeError) -> NoReturn:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if not full and not isinstance(error, OSError):
            raise error
        reason = "no space is left on the disk" if full else str(error)
        kept = checkpoints(self.directory)
        last = f"the last whole one is {kept[-1].name}" if kept else "there is no earlier one"
        raise TrainingError(
            f"{path}: the checkpoint could not be written: {reason}; {last}; "
            "free some space and run the same command with resume=true"
        ) from error

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop_asked:
            raise Interrupted("stopped at once")
        self.stop_asked = True
        os.write(2, b"\nstopping: this step is finished and saved first; press Ctrl-C again to stop at once\n")

    def _restore_handler(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
