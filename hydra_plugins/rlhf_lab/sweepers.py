"""`hydra/sweeper=optuna`. Thin: the work is done in `launch/`, which is imported late, since Hydra imports every plugin
at every start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Chooses the points of a sweep one after the other, by what came out before; keys in conf/hydra/sweeper/."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None
        self.job: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context, self.job = config, hydra_context, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from launch.sweeps.optuna_search import Study, claim
        from launch.sweeps.search_space import search_of

        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        options: Any = OmegaConf.to_container(OmegaConf.create(self.options), resolve=True)
        loader, config = self.hydra_context.config_loader, self.config

        def compose(overrides: Sequence[str]) -> DictConfig:
            return loader.load_sweep_config(config, list(overrides))

        search, search_id = search_of(arguments, options, compose, self.job.planner)
        folder = Path(config.hydra.sweep.dir).absolute()
        claim(folder, search, search_id, bool(config.get("resume")))
        study = Study(folder, search, options["sampler"], options["sampler_options"] or {}, options["seed"])
        study.run(self.launcher, options["n_trials"], options["n_jobs"])
