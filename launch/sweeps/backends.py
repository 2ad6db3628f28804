"""Where commands get their processes: slots of this machine (joblib), a cluster's queue (submitit), or Ray.

The packages are extras, and are imported only when they are asked for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from launch.sweeps import runner
from launch.sweeps.point_processes import Command
from launch.sweeps.runner import INTERRUPTED, Ending, Runner
from rlhf.errors import ConfigError

POLL = 0.5
"""Seconds between two looks at what has ended."""

Endings = Iterator[tuple[int, Ending]]


def _package(name: str, launcher: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"hydra/launcher: {launcher} needs the package {name}; pip install 'rlhf-lab[{name}]'"
        ) from error


class Joblib:
    """As many processes at a time as joblib's `n_jobs` says; each slot is a thread that waits for its process.

    Args:
        n_jobs: as in joblib: −1 is one for each core.
        threads: CPU threads of a point; `None`: the machine's, shared out equally.
    """

    def __init__(self, n_jobs: int, threads: int | None) -> None:
        self.joblib = _package("joblib", "joblib")
        self.n_jobs, self.threads = n_jobs, threads

    def __call__(self, commands: Sequence[Command]) -> Endings:
        with self.joblib.parallel_config(backend="threading"):
            slots = min(self.joblib.effective_n_jobs(self.n_jobs), len(commands))
        threads = self.threads or max(1, self.joblib.cpu_count() // slots)
        shared = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        run = Runner()

        def perform(command: Command) -> tuple[int, Ending]:
            return command.number, run(command.arguments, command.folder, shared | command.variables, command.console)

        with runner.noticing(run.stop):
            parallel = self.joblib.Parallel(
                slots, backend="threading", return_as="generator_unordered", batch_size=1, pre_dispatch="all"
            )
            yield from parallel(self.joblib.delayed(perform)(command) for command in commands)


class Submitit:
    """Jobs of a cluster, one for each point; the folder of the runs must be one that all nodes see.

    Args:
        cluster: `slurm`, or `local`: processes of this machine under submitit, to try a setup.
        folder: where submitit keeps its files; `%j` is the job's number.
        max_num_timeout: how often a point whose time is up is queued again, to continue from its checkpoint.
        parameters: as `AutoExecutor.update_parameters` takes them; those that are `None` are left out.
    """

    def __init__(self, cluster: str, folder: str, max_num_timeout: int, parameters: Mapping[str, Any]) -> None:
        self.submitit = _package("submitit", "submitit")
        limits = {f"{cluster}_max_num_timeout": max_num_timeout}
        try:
            self.executor = self.submitit.AutoExecutor(folder=folder, cluster=cluster, **limits)
            self.executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise ConfigError(f"hydra/launcher: submitit refused: {error}; see conf/hydra/launcher") from error

    def __call__(self, commands: Sequence[Command]) -> Endings:
        import cloudpickle

        asked: list[int] = []
        # From the start, since what a shell in the background ignores is ignored by all that is started from it.
        with runner.noticing(asked.append):
            cloudpickle.register_pickle_by_value(runner)
            try:
                tasks = [runner.Requeued(c.arguments, c.folder, c.variables, c.console) for c in commands]
                jobs = self.executor.submit_array(tasks)
            finally:
                cloudpickle.unregister_pickle_by_value(runner)
            numbers = {job.job_id: command.number for job, command in zip(jobs, commands, strict=True)}
            while numbers and not asked:
                for job in jobs:
                    if job.job_id in numbers and job.done():
                        yield numbers.pop(job.job_id), self._ending(job)
                time.sleep(POLL)
        for job in jobs:
            if job.job_id in numbers:
                job.cancel(check=False)
                yield numbers[job.job_id], runner.stopped_by(asked[0])

    def _ending(self, job: Any) -> Ending:
        try:
            ending: Ending = job.results()[0]
        except Exception as error:
            return {"code": 1, "error": f"job {job.job_id}: {error}", "value": None, "seconds": 0.0}
        return ending


class Ray:
    """Tasks of a Ray cluster, which the call joins, or starts on this machine.

    Args:
        init: arguments of `ray.init`, such as `address`.
        remote: what a point needs, as `ray.remote` takes it: `num_cpus`, `num_gpus`, `resources`, …
    """

    def __init__(self, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        # Ray warns of a change to come in how it hides GPUs from tasks that ask for none; here they see them all.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self.ray = _package("ray", "ray")
        self.init = {name: value for name, value in init.items() if value is not None}
        self.remote = {name: value for name, value in remote.items() if value is not None}

    def __call__(self, commands: Sequence[Command]) -> Endings:
        ray = self.ray
        ours = not ray.is_initialized()
        asked: list[int] = []
        with runner.noticing(asked.append):
            if ours:
                try:
                    ray.init(**self.init)
                except (ConnectionError, ValueError, RuntimeError) as error:
                    raise ConfigError(f"hydra.launcher.init: Ray refused: {error}") from error
            try:
                # Once more, since Ray sets handlers of its own.
                with runner.noticing(asked.append):
                    yield from self._perform(commands, asked)
            finally:
                if ours:
                    ray.shutdown()

    def _perform(self, commands: Sequence[Command], asked: list[int]) -> Endings:
        ray = self.ray
        ray.cloudpickle.register_pickle_by_value(runner)
        try:
            # A second attempt would meet the directory of the first.
            task = ray.remote(max_retries=0, **self.remote)(runner.run)
            waiting = {task.remote(c.arguments, c.folder, c.variables, c.console): c.number for c in commands}
        finally:
            ray.cloudpickle.unregister_pickle_by_value(runner)
        cancelled = 0
        while waiting:
            for ref in ray.wait(list(waiting), timeout=POLL)[0]:
                number, ending = waiting.pop(ref), self._ending(ref)
                yield number, runner.stopped_by(asked[0]) if asked and ending["code"] == INTERRUPTED else ending
            if len(asked) > cancelled:
                cancelled = len(asked)
                # To a worker this is Ctrl-C; it hands that on, and waits until the run has saved itself.
                for ref in waiting:
                    ray.cancel(ref)

    def _ending(self, ref: Any) -> Ending:
        try:
            ending: Ending = self.ray.get(ref)
        except self.ray.exceptions.TaskCancelledError:
            return runner.stopped_by(signal.SIGINT)
        except self.ray.exceptions.RayError as error:
            return {"code": 1, "error": f"Ray: {error}", "value": None, "seconds": 0.0}
        return ending
