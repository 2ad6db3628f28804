"""Checkpoints at step boundaries, whole or not at all; and an orderly stop when a signal asks for it."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from callbacks.background import Background
from rlhf.config import LoopConfig
from rlhf.errors import REQUEUE, Interrupted, TrainingError
from rlhf.runs.checkpoints import checkpoint_path, checkpoints, prune, set_aside, write_checkpoint
from rlhf.storage.disk import disk_fault

log = logging.getLogger("rlhf")

CODES = {signal.SIGINT: 128 + signal.SIGINT, signal.SIGTERM: REQUEUE, signal.SIGUSR1: REQUEUE}
"""Signals that end a run at the next step boundary, and what the program then exits with."""
LARGE = 10**9
"""Bytes from which on `train.async_checkpoint=auto` writes in the background."""


class Checkpoint(L.Callback):
    """Saves every `checkpoint_every` steps, after the last one, and with `keep_best` after the best validation.

    A checkpoint that falls on a validation is written after it, so that a resumed run has the validation's numbers. The
    first signal finishes the step, saves and stops, whichever process it reached; a second Ctrl-C stops at once.
    """

    def __init__(self, directory: Path, config: LoopConfig) -> None:
        self.directory, self.config = directory, config
        self.asked = 0
        self.training = False
        self.background = Background()
        self._before: dict[int, Any] = {}

    # -- when --------------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        self._take_signals()

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self._take_signals()
        self.training = True
        if trainer.is_global_zero:
            set_aside(self.directory, module.step)
        trainer.strategy.barrier("checkpoints")

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.background.check()
        if trainer.datamodule.validates_at(module.step, module.total_steps):  # type: ignore[attr-defined]
            return
        self.end_step(trainer, module, self.due(module))

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.state.fn != "fit":
            self._give_signals_back()
            return
        is_best = module.best is not None and module.best[0] == module.step
        self.end_step(trainer, module, self.due(module) or (self.config.keep_best and is_best))

    def end_step(self, trainer: L.Trainer, module: Any, save: bool) -> None:
        """Save if it is time to, or if any process was asked to stop; then stop.

        Raises:
            Interrupted: a signal came.
        """
        code = int(trainer.strategy.reduce(torch.tensor(self.asked, device=module.device), reduce_op="max"))
        if code and not module.done:
            self.save(trainer, module)
            self.background.join()
            raise Interrupted(f"stopped after step {module.step}", code)
        if save:
            self.save(trainer, module)

    def due(self, module: Any) -> bool:
        return module.step % self.config.checkpoint_every == 0 or module.done

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self.training = False
        self._give_signals_back()
        self.background.join()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self.training = False
        self._give_signals_back()
        try:
            self.background.join()
        except Exception as error:
            # What ended the training is raised; this would otherwise not be seen.
            log.warning("%s", error)

    # -- how ---------------------------------------------------------------------------------------------------------

    def save(self, trainer: L.Trainer, module: Any) -> None:
        """Collect the state from all ranks and write it from the first, at once or in the background.

        Raises:
            TrainingError: it can't be written, or the one before, in the background, could not.
        """
        state = module.full_state()
        if trainer.is_global_zero:
            best = module.best[0] if self.config.keep_best and module.best is not None else None
            if self._in_background(state):
                # Training continues and changes these tensors in place.
                state = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), state)
                self.background.start(partial(self._write, state, best))
            else:
                self._write(state, best)
        trainer.strategy.barrier("checkpoint")

    def _in_background(self, state: dict[str, Any]) -> bool:
        size = sum(leaf.nbytes for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor))
        return {"always": True, "never": False}.get(self.config.async_checkpoint, size >= LARGE)

    def _write(self, state: dict[str, Any], best: int | None) -> None:
        path = checkpoint_path(self.directory, state["step"])
        try:
            write_checkpoint(path, state)
            prune(self.directory, self.config.keep_checkpoints, self.config.keep_every, best)
        except (OSError, RuntimeError) as error:
            # PyTorch's writer fails once more while it closes the file, and only that error is seen.
            reason = disk_fault(error)
            if reason is None and not isinstance(error, OSError):
                raise
            reason = reason or str(error)
            kept = checkpoints(self.directory)
            last = f"the last whole one is {kept[-1].name}" if kept else "there is no earlier one"
            raise TrainingError(
                f"{path}: the checkpoint could not be written: {reason}; {last}; "
                "free some space and run the same command with resume=true"
            ) from error

    # -- signals -----------------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        """Lightning takes some too, at the start of each of its loops; a hook within the loop comes after that."""
        for number in CODES:
            before = signal.signal(number, self._on_signal)
            if before != self._on_signal:
                self._before.setdefault(number, before)

    def _give_signals_back(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        if not self.training:
            raise Interrupted("stopped before the first step", code)
        if self.asked and number == signal.SIGINT:
            raise Interrupted("stopped at once", code)
        if not self.asked:
            hint = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            os.write(2, f"\nstopping: this step is finished and saved first{hint}\n".encode())
        self.asked = code
