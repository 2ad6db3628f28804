"""A Lightning Trainer from a configuration: strategy, precision, loggers; no warning that its user can't act on."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from rlhf.config import StrategyConfig, TrainConfig
from rlhf.errors import ConfigError
from rlhf.quiet import quiet_libraries
from rlhf.runs import Run
from tracking.csv_logger import CSVMetrics
from tracking.wandb_logger import build_wandb

TIMEOUT = timedelta(minutes=30)


def accelerator_of(config: StrategyConfig) -> tuple[str, int]:
    """Accelerator (`cpu` or `gpu`) and devices per node.

    Raises:
        ConfigError: a GPU is asked for and there is none, or fewer than asked for.
    """
    has_gpu = torch.cuda.is_available()
    if config.accelerator == "gpu" and not has_gpu:
        raise ConfigError("strategy.accelerator: gpu, but PyTorch sees none here; pass strategy=cpu")
    accelerator = "gpu" if has_gpu and config.accelerator != "cpu" else "cpu"
    present = torch.cuda.device_count() if accelerator == "gpu" else 1
    devices = present if config.devices == "auto" else int(config.devices)
    if config.layout == "single":
        devices = 1
    if accelerator == "gpu" and devices > present:
        raise ConfigError(f"strategy.devices: {devices}, but this machine has {present} GPUs")
    return accelerator, devices


def build_strategy(config: StrategyConfig, devices: int) -> Strategy | str:
    """A layout as Lightning's strategy.

    Raises:
        ConfigError: tensor groups don't use up the processes.
    """
    if config.layout == "single":
        return "auto"
    if config.layout == "ddp":
        return DDPStrategy(timeout=TIMEOUT)
    world, size = devices * config.nodes, config.tensor_parallel
    if world % size:
        raise ConfigError(f"strategy.tensor_parallel: {size} does not divide the {world} processes of this run")
    return ModelParallelStrategy(
        data_parallel_size=world // size,
        tensor_parallel_size=size,
        save_distributed_checkpoint=False,
        timeout=TIMEOUT,
    )


def cluster_environment(devices: int) -> list[Any]:
    """Lightning's plugin for who starts the processes. Under SLURM: srun, or, in a job of one task, Lightning.

    Without Lightning's own requeueing, which would take SIGUSR1 and leave a run nothing to save; docs/cluster.md.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    if os.environ["SLURM_NTASKS"] == "1" and devices > 1:
        return [LightningEnvironment()]
    return [SLURMEnvironment(auto_requeue=False)]


def build_loggers(config: TrainConfig, run: Run) -> list[Logger]:
    """`metrics.csv` always; W&B and TensorBoard as configured."""
    loggers: list[Logger] = [CSVMetrics(run.dir)]
    if config.logger.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(save_dir=run.dir, name="tensorboard", version=""))
    if config.logger.wandb != "off":
        about = [config.model.name, config.data.name]
        loggers.append(build_wandb(config.logger, run, config.algo.name, about))
    return loggers


PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16-mixed": "bf16-mixed", "bf16": "bf16-mixed"}
"""On one device, and with copies (ddp), bf16 arithmetic on fp32 master weights is what autocast does. Shards gather
their weights in bf16, see rlhf/models/parallel/sharding.py."""


def build_trainer(config: TrainConfig, run: Run, callbacks: list[L.Callback]) -> L.Trainer:
    """The Trainer of a run. A Lightning epoch lasts from one validation to the next; the module decides when to
    stop."""
    quiet_libraries()
    if config.strategy.threads is not None:
        torch.set_num_threads(config.strategy.threads)
    accelerator, devices = accelerator_of(config.strategy)
    sharded_bf16 = config.strategy.layout in ("fsdp", "zero2") and config.strategy.precision == "bf16"
    return L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.strategy.nodes,
        plugins=cluster_environment(devices),
        strategy=build_strategy(config.strategy, devices),
        precision="32-true" if sharded_bf16 else PRECISIONS[config.strategy.precision],
        logger=build_loggers(config, run),
        callbacks=callbacks,
        default_root_dir=run.dir,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        # A first forward pass in inference mode would break training of the same weights under FSDP2.
        inference_mode=False,
    )
