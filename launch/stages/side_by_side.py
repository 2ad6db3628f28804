"""Which stages of a pipeline may run at the same time. The name of a run doesn't depend on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from launch.stages.rounds import listed
from rlhf.config import Config, MergeConfig, PipelineConfig, PrepareConfig, StageConfig, TrainConfig


def names_its_parents(config: Config) -> bool:
    """Whether a stage's parents are given. One that looks for the newest run would find another one, or none,
    if it began before an earlier stage has ended."""
    if isinstance(config, MergeConfig | PrepareConfig):
        return True
    if not isinstance(config, TrainConfig):
        return False
    by_name = getattr(config.algo, "reward_model", None) if config.algo.needs_reward else None
    return "auto" not in (config.model.init, by_name)


def threads_of_each(config: PipelineConfig) -> int | None:
    """Threads of a stage where several run at the same time on CPUs; `None`: as `strategy.threads` says."""
    strategy = config.strategy
    if config.parallel == 1 or strategy.threads is not None or strategy.accelerator != "cpu":
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // config.parallel)


def parents_of(stage: StageConfig) -> list[str]:
    """The stages that a stage builds on."""
    return [parent for parents in stage.parents.values() for parent in listed(parents)]


def startable(
    stages: Mapping[str, StageConfig],
    free: Iterable[str],
    running: Iterable[str],
    done: Mapping[str, Path],
    parallel: int,
) -> list[str]:
    """The stages that start now, in order: the next one where nothing runs, and those that may run beside.

    Args:
        stages: all that the pipeline runs, in order.
        free: those that name their parents. running, done: stages under way, and the runs of finished ones.
        parallel: how many may run at the same time.
    """
    at_work, free = list(running), set(free)
    started: list[str] = []
    waiting = [name for name in stages if name not in done and name not in at_work]
    for name in waiting:
        parents = parents_of(stages[name])
        ready = name in free and all(parent in done or parent not in stages for parent in parents)
        if (not at_work and name == waiting[0]) or (at_work and len(at_work) < parallel and ready):
            started.append(name)
            at_work.append(name)
    return started
