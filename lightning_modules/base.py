"""What all stages share: the step counter, the optimiser, the schedule, what is saved, and reductions over ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from lightning_modules.updates.guards import BadSteps
from lightning_modules.updates.micro_batches import Micro, Step
from lightning_modules.updates.moving_weights import Average, StandIn
from lightning_modules.updates.parameter_groups import parameter_groups
from lightning_modules.updates.ranks import RankedModule, shard_models
from lightning_modules.updates.schedule import lr_factor
from lightning_modules.updates.state import full_state, load_state
from rlhf.config import TrainConfig
from rlhf.config.objective import maximised, objectives
from rlhf.config.rules.stopping import check_measured, stop_reason
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.parallel.offload import offloaded
from rlhf.models.parallel.sharding import settle
from rlhf.runs.checkpoints import read_checkpoint


class StageModule(RankedModule):
    """A stage of alignment. Subclasses hold the trained models as submodules, frozen ones outside of the module tree.

    One Lightning batch is one optimisation batch (`Step`); `step` counts those, and nothing else is needed to continue
    a run beside weights and optimiser state, since data order, learning rate and randomness are functions of `step`.
    Checkpoints are not Lightning's (see `full_state`): a resumed run is a fresh loop over the remaining steps.
    """

    automatic_optimization = False
    headline: tuple[str, ...] = ("loss",)
    """The two or three metrics that the progress bar shows."""

    def __init__(self, config: TrainConfig, total_steps: int) -> None:
        super().__init__()
        self.config = config
        self.total_steps = total_steps
        self.step = 0
        self.trained_tokens = 0
        self.bad_steps = BadSteps()
        self.average: Average | None = None
        """Of the exported model's weights, with `algo.ema_decay`; made when training begins."""
        self.train_metrics: dict[str, float] = {}
        self.val_metrics: dict[str, float] = {}
        self.best: tuple[int, float] | None = None
        """Step and value of the best validation so far."""
        self.stopped: str | None = None
        """Why the run ends before its last step (`train.stop_at`)."""
        self._val = Means()
        self._sharded = False
        self.continue_from: Path | None = None
        """The checkpoint to resume from; set before `Trainer.fit`."""
        self.on_progress: Callable[[str, int, int], None] = lambda phase, done, total: None

    @classmethod
    def build(cls, parts: Parts) -> Self:
        """The module of a run; for one that is planned too, whose models have shapes and no weights."""
        return cls(parts.config, parts.total_steps, policy=parts.policy())  # type: ignore[call-arg]

    # -- models ----------------------------------------------------------------------------------------------------

    def trained(self) -> dict[str, nn.Module]:
        """The models that learn, by name; gradient norms are clipped for each separately."""
        raise NotImplementedError

    def frozen(self) -> dict[str, nn.Module]:
        """Models that only answer; they are moved with the module, but neither saved nor trained."""
        return {}

    def exported(self) -> Any:
        """The model that the stage is for: `LanguageModel` or `ScoreModel`."""
        return self.policy

    def stand_ins(self) -> list[StandIn]:
        """Weights that take the places of others while the run is validated."""
        return [] if self.average is None else [self.average]

    def take_average(self) -> None:
        """Once training is over: the average of the weights, where there is one, becomes what is exported."""
        if self.average is not None:
            self.average.adopt()

    def before_export(self, demonstrations: Callable[[], Sequence[Row]]) -> None:
        """What is left to be done once training is over.

        Args:
            demonstrations: reads the rows that the data set gives as demonstrations.
        """

    def judge(self, rows: Sequence[Row]) -> dict[str, list[float]] | None:
        """Score and KL of one-response rows, where the stage has what they take; by name, in their order."""
        return None

    def configure_model(self) -> None:
        """Shard all models, frozen ones too, where the layout says so; Lightning calls it before each of its loops."""
        strategy = self.config.strategy
        if strategy.layout not in ("fsdp", "zero2") or self._sharded:
            return
        self._sharded = True
        shard_models((self.trained() | self.frozen()).values(), strategy, self.trainer)

    def on_fit_start(self) -> None:
        """Models are placed and sharded and the optimiser exists: the first moment at which all can be restored."""
        self._place_frozen()
        if self.config.algo.ema_decay is not None:
            self.average = Average(self.exported(), self.config.algo.ema_decay)
        if self.continue_from is not None:
            self.load_full_state(read_checkpoint(self.continue_from))
            self.continue_from = None

    def on_validation_start(self) -> None:
        self._place_frozen()
        for other in self.stand_ins():
            other.show()

    def on_validation_end(self) -> None:
        """After the callbacks' own, which sample from what was validated."""
        for other in self.stand_ins():
            other.put_back()

    def _place_frozen(self) -> None:
        if self._sharded:
            return  # shards are where they belong, perhaps in CPU memory
        for model in self.frozen().values():
            model.to(self.device)

    def clip_groups(self) -> dict[str, Sequence[nn.Parameter]]:
        return {name: [p for p in model.parameters() if p.requires_grad] for name, model in self.trained().items()}

    # -- optimiser -------------------------------------------------------------------------------------------------

    def learning_rates(self) -> dict[str, float]:
        """Peak learning rate of each trained model, and of parts of one that have their own: `policy.value_head`."""
        return dict.fromkeys(self.trained(), self.config.algo.lr)

    def rests(self, part: str) -> bool:
        """Whether what `learning_rates` names is not to move in this step."""
        return False

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (Loshchilov & Hutter 2019)."""
        algo = self.config.algo
        groups, self.rate_names = parameter_groups(self.trained(), self.learning_rates(), algo.weight_decay)
        return torch.optim.AdamW(groups, betas=(algo.adam_beta1, algo.adam_beta2), eps=algo.adam_eps, fused=True)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        optimizer: Any = self.optimizers(use_pl_optimizer=True)
        return optimizer

    def lr_factor(self) -> float:
        algo = self.config.algo
        return lr_factor(
            self.step,
            self.total_steps,
            warmup=algo.warmup(self.total_steps),
            schedule=algo.lr_schedule,
            min_ratio=algo.min_lr_ratio,
        )

    # -- the loop --------------------------------------------------------------------------------------------------

    def learn(self, step: Step) -> dict[str, float]:
        """One optimisation batch; returns what it measured."""
        raise NotImplementedError

    def training_step(self, step: Step, batch_idx: int) -> dict[str, Any]:
        started = time.perf_counter()
        offload = self.config.strategy.activation_offload
        with offloaded(self.parameters()) if offload else nullcontext():
            metrics = self.learn(step)
        self.bad_steps.end_step(self.step + 1, self.config.train.max_bad_steps, self.config.algo.lr)
        self.step += 1
        metrics = self.with_speed(metrics, time.perf_counter() - started)
        metrics["lr"] = self.optimizer.param_groups[0]["lr"]
        self.train_metrics = {(k if "/" in k else f"train/{k}"): float(v) for k, v in metrics.items()}
        self._stop_where_asked(self.train_metrics, held_out=False)
        return {"metrics": self.train_metrics}

    @property
    def done(self) -> bool:
        """Whether no step is left to make."""
        return self.step >= self.total_steps or self.stopped is not None

    def _stop_where_asked(self, metrics: dict[str, float], *, held_out: bool) -> None:
        """End the run where it is done, by its steps or by `train.stop_at`: metrics are the same on all ranks."""
        rules = self.config.train.stop_at
        check_measured(rules, metrics, held_out=held_out)
        if self.step and not self.done:
            self.stopped = stop_reason(rules, metrics, self.step)
        self.trainer.should_stop = self.done

    def with_speed(self, metrics: dict[str, float], seconds: float) -> dict[str, float]:
        """A step's metrics with its seconds and trained tokens per second in place of `tokens`, which are counted."""
        tokens = metrics.pop("tokens", 0.0)
        self.trained_tokens += int(tokens)
        return metrics | {"seconds": seconds, "tokens_per_second": tokens / seconds}

    def measure(self, batch: Batch) -> Means:
        """What a held-out micro-batch adds to the `val/` metrics."""
        raise NotImplementedError

    def validation_step(self, micro: Micro, batch_idx: int) -> None:
        means = self.measure(collate(micro.rows).to(self.device))
        self._val.merge(means if micro.live else means.zeroed())

    def on_validation_epoch_start(self) -> None:
        self._val = Means()

    def on_validation_epoch_end(self) -> None:
        metrics = self.finish_validation(self._val.reduce(self.all_reduce))
        self.val_metrics = {(k if "/" in k else f"val/{k}"): float(v) for k, v in metrics.items()}
        objective = objectives(self.config)[0]
        value, sign = self.val_metrics.get(objective, math.nan), 1 if maximised(objective) else -1
        if math.isfinite(value) and self.step and (self.best is None or sign * value > sign * self.best[1]):
            self.best = (self.step, value)
        self._stop_where_asked(self.val_metrics, held_out=True)

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        """Turn reduced sums into what is reported, where a mean is not the answer."""
        return metrics

    # -- saving ----------------------------------------------------------------------------------------------------

    def full_state(self) -> dict[str, Any]:
        """See `lightning_modules/updates/state.py`; all ranks call it together. It ends what a validation shows."""
        for other in self.stand_ins():
            other.put_back()
        settle(list(self.trained().values()))
        numbers = {
            "step": self.step,
            "trained_tokens": self.trained_tokens,
            "extra": self.extra_state(),
            "metrics": {"train": self.train_metrics, "val": self.val_metrics},
            "best": self.best,
            "stopped": self.stopped,
            "bad_steps": self.bad_steps.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }
        return full_state(self, self.trainer.strategy.optimizers[0], numbers)

    def load_full_state(self, state: dict[str, Any]) -> None:
        """Inverse of `full_state`; uses up the dictionaries of `state`.

        Raises:
            TrainingError: the state belongs to another version or model.
        """
        load_state(self, self.trainer.strategy.optimizers[0], state, self.global_rank, self._restore)

    def _restore(self, state: dict[str, Any]) -> None:
        if not all(isinstance(state[name], int) for name in ("step", "trained_tokens")):
            raise TypeError("step and trained_tokens are whole numbers")
        self.step, self.trained_tokens = state["step"], state["trained_tokens"]
        self.train_metrics, self.val_metrics = state["metrics"]["train"], state["metrics"]["val"]
        self.best, self.stopped = state["best"], state.get("stopped")
        self.bad_steps.load_state_dict(state["bad_steps"])
        if self.average is not None:
            self.average.load(state["average"])
        self.load_extra_state(state["extra"])

    def extra_state(self) -> dict[str, Any]:
        """Plain numbers that this stage needs to continue, beside what `full_state` saves of every stage."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Inverse of `extra_state`."""
