"""What all stages share: the step counter, the optimiser, the schedule, what is saved, and reductions over ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_modules.parts import Parts
from lightning_modules.updates.averages import Means
from lightning_modules.updates.guards import BadSteps, Place
from lightning_modules.updates.micro_batches import Micro, Step
from lightning_modules.updates.parameter_groups import parameter_groups
from lightning_modules.updates.schedule import lr_factor
from lightning_modules.updates.state import full_state, load_state
from rlhf.config import TrainConfig
from rlhf.config.objective import maximised, objectives
from rlhf.data.batch import Batch, collate
from rlhf.data.rows import Row
from rlhf.models.parallel.offload import offloaded
from rlhf.models.parallel.sharding import data_mesh, settle, shard
from rlhf.runs.checkpoints import read_checkpoint


class StageModule(L.LightningModule):
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
        self.train_metrics: dict[str, float] = {}
        self.val_metrics: dict[str, float] = {}
        self.best: tuple[int, float] | None = None
        """Step and value of the best validation so far."""
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
        tensor_mesh = None
        if strategy.tensor_parallel > 1:
            both: Any = self.trainer.strategy.device_mesh  # type: ignore[attr-defined]
            mesh, tensor_mesh = both["data_parallel"], both["tensor_parallel"]
        else:
            mesh = data_mesh(self.trainer.strategy.root_device.type, self.trainer.world_size, strategy.shard_size)
        for model in (self.trained() | self.frozen()).values():
            shard(
                model,  # type: ignore[arg-type]
                mesh,
                keep_gathered=strategy.layout == "zero2",
                dtype=torch.bfloat16 if strategy.precision == "bf16" else None,
                offload=strategy.cpu_offload,
                tensor_mesh=tensor_mesh,
            )

    def on_fit_start(self) -> None:
        """Models are placed and sharded and the optimiser exists: the first moment at which all can be restored."""
        self._place_frozen()
        if self.continue_from is not None:
            self.load_full_state(read_checkpoint(self.continue_from))
            self.continue_from = None

    def on_validation_start(self) -> None:
        self._place_frozen()

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

    # -- ranks -----------------------------------------------------------------------------------------------------

    @property
    def world_size(self) -> int:
        return self.trainer.world_size

    @property
    def data_ranks(self) -> int:
        """Among how many the data is shared out: processes, or tensor groups, whose processes compute the same rows."""
        return self.world_size // self.config.strategy.tensor_parallel

    @property
    def data_rank(self) -> int:
        """Whose share of the data this process computes; those of a tensor group are neighbours."""
        return self.global_rank // self.config.strategy.tensor_parallel

    @property
    def place(self) -> Place:
        """The position of this process in the current step."""
        return Place(
            self.step + 1,
            Path(self.trainer.default_root_dir),
            self.global_rank,
            self.world_size,
            self.data_rank,
            self.config.strategy.tensor_parallel,
        )

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum over shares of the data, in place where there is more than one; a tensor group counts once."""
        if self.data_ranks > 1:
            group = None
            if self.config.strategy.tensor_parallel > 1:
                both: Any = self.trainer.strategy.device_mesh  # type: ignore[attr-defined]
                group = both["data_parallel"].get_group()
            moved = tensor.to(self.device)
            torch.distributed.all_reduce(moved, group=group)
            return moved.to(tensor.device)
        return tensor

    def gradient_sync_off(self) -> AbstractContextManager[Any]:
        """Copies (ddp): gradients stay on their rank until the last micro-batch. Shards add theirs up at each, since
        whole gradients are what they have no memory for."""
        model = self.trainer.strategy.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

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
        self.trainer.should_stop = self.step >= self.total_steps
        metrics = self.with_speed(metrics, time.perf_counter() - started)
        metrics["lr"] = self.optimizer.param_groups[0]["lr"]
        self.train_metrics = {(k if "/" in k else f"train/{k}"): float(v) for k, v in metrics.items()}
        return {"metrics": self.train_metrics}

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

    def finish_validation(self, metrics: dict[str, float]) -> dict[str, float]:
        """Turn reduced sums into what is reported, where a mean is not the answer."""
        return metrics

    # -- saving ----------------------------------------------------------------------------------------------------

    def full_state(self) -> dict[str, Any]:
        """See `lightning_modules/updates/state.py`; all ranks call it together."""
        settle(list(self.trained().values()))
        numbers = {
            "step": self.step,
            "trained_tokens": self.trained_tokens,
            "extra": self.extra_state(),
            "metrics": {"train": self.train_metrics, "val": self.val_metrics},
            "best": self.best,
            "bad_steps": self.bad_steps.state_dict(),
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
        self.best = state["best"]
        self.bad_steps.load_state_dict(state["bad_steps"])
        self.load_extra_state(state["extra"])

    def extra_state(self) -> dict[str, Any]:
        """Plain numbers that this stage needs to continue, beside what `full_state` saves of every stage."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Inverse of `extra_state`."""
