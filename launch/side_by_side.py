"""Which stages of a pipeline may run at the same time. No result depends on it, nor does the name of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlhf.config import Config, PipelineConfig, StageConfig, TrainConfig
from rlhf.config.sections import SMALL_MODEL
from rlhf.errors import ParentError
from rlhf.storage.weights import weight_files

BESIDE = 2
"""Stages that run at the same time where nobody says how many; no graph of the lab's own has a use for more."""


def names_its_parents(config: Config) -> bool:
    """Whether a stage is told what it builds on. One that looks for the newest run would find another one, or none,
    if it began before an earlier stage has ended."""
    if not isinstance(config, TrainConfig):
        return False
    by_name = getattr(config.algo, "reward_model", None) if config.algo.needs_reward else None
    return "auto" not in (config.model.init, by_name)


def places(config: PipelineConfig) -> int:
    """How many stages may run at the same time, where their models are small."""
    strategy = config.strategy
    if config.parallel is not None:
        return config.parallel
    alone = strategy.accelerator != "cpu" or strategy.layout != "single" or strategy.threads not in (None, 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if alone else min(BESIDE, cores)


def is_small(stage: StageConfig, done: Mapping[str, Path]) -> bool:
    """Whether the models that a stage builds on are small, so that it computes with one thread; by their files."""
    try:
        sizes = [
            sum(file.stat().st_size for file in weight_files(done[parent] / "model"))
            for key, parent in stage.parents.items()
            if parent in done and key != "data.path"
        ]
    except (ParentError, OSError):
        return False
    return bool(sizes) and all(0 < size < 4 * SMALL_MODEL for size in sizes)


def startable(
    stages: Mapping[str, StageConfig],
    free: Iterable[str],
    running: Iterable[str],
    done: Mapping[str, Path],
    config: PipelineConfig,
) -> list[str]:
    """The stages that start now, in order: the next one where nothing runs, and those that may run beside.

    Args:
        stages: all that the pipeline runs, in order.
        free: those that name their parents. running, done: stages under way, and the runs of finished ones.
    """
    at_work, free = list(running), set(free)
    started: list[str] = []
    waiting = [name for name in stages if name not in done and name not in at_work]
    for name in waiting:
        if not at_work and name == waiting[0]:
            allowed = True
        else:
            mine = stages[name]
            ready = all(parent in done or parent not in stages for parent in mine.parents.values())
            several = len(at_work) < places(config) and name in free and ready
            allowed = several and (
                config.parallel is not None or all(is_small(stages[other], done) for other in [*at_work, name])
            )
        if allowed:
            started.append(name)
            at_work.append(name)
    return started
