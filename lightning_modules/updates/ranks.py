"""Which share of the data and of the models a process has, and sums over all shares."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_modules.updates.guards import Place
from rlhf.config import StrategyConfig, TrainConfig
from rlhf.models.parallel.sharding import data_mesh, shard


class RankedModule(L.LightningModule):
    """A module that knows its place among the processes of a run.

    Attributes:
        step: optimiser updates so far (PPO: iterations).
    """

    config: TrainConfig
    step: int

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
        """Where this process stands in the step under way."""
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


def shard_models(models: Iterable[nn.Module], strategy: StrategyConfig, trainer: L.Trainer) -> None:
    """Shard all models, frozen ones too, in place; all ranks call it together."""
    tensor_mesh = None
    if strategy.tensor_parallel > 1:
        both: Any = trainer.strategy.device_mesh  # type: ignore[attr-defined]
        mesh, tensor_mesh = both["data_parallel"], both["tensor_parallel"]
    else:
        mesh = data_mesh(trainer.strategy.root_device.type, trainer.world_size, strategy.shard_size)
    for model in models:
        shard(
            model,  # type: ignore[arg-type]
            mesh,
            keep_gathered=strategy.layout == "zero2",
            dtype=torch.bfloat16 if strategy.precision == "bf16" else None,
            offload=strategy.cpu_offload,
            tensor_mesh=tensor_mesh,
        )
