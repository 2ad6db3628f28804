"""Launchers whose points run in processes of their own. Thin: the work is done in `launch/`, which is imported late,
since Hydra imports every plugin at every start."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from launch.sweeps.point_processes import Backend


class PointLauncher(Launcher):
    """What the three have in common."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.job: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.job, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from launch.sweeps.point_processes import launch

        assert self.context is not None and self.config is not None
        options = OmegaConf.to_container(OmegaConf.create(self.options), resolve=True)
        assert isinstance(options, dict)
        backend = self.backend({str(name): value for name, value in options.items()})
        return launch(self.job, self.context, self.config, job_overrides, initial_job_idx, backend)

    @abstractmethod
    def backend(self, options: dict[str, Any]) -> Backend:
        """What the commands of the points are given to."""


class JoblibLauncher(PointLauncher):
    """`hydra/launcher=joblib`."""

    def backend(self, options: dict[str, Any]) -> Backend:
        from launch.sweeps.backends import Joblib

        return Joblib(**options)


class SubmititLauncher(PointLauncher):
    """`hydra/launcher=submitit_slurm` and `submitit_local`."""

    def backend(self, options: dict[str, Any]) -> Backend:
        from launch.sweeps.backends import Submitit

        return Submitit(**options)


class RayLauncher(PointLauncher):
    """`hydra/launcher=ray`."""

    def backend(self, options: dict[str, Any]) -> Backend:
        from launch.sweeps.backends import Ray

        return Ray(**options)
