"""A search by Optuna, trial by trial; its state is a journal beside the runs, so that a kill loses nothing.

A trial that was running when the search was killed continues from its checkpoint. The sampler is made anew for each
trial, with a seed of its own: what is tried next depends on the journal alone, and a search that was interrupted
tries what an uninterrupted one would have tried."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from launch.sweeps.search_space import Parameter, Search
from rlhf.errors import ConfigError
from rlhf.runs import atomic_write_json, atomic_write_text
from rlhf.storage.reading import Unreadable, read_json

JOURNAL, IDENTITY, RESULT = "study.journal", "search.json", "optimization_results.yaml"

log = logging.getLogger("launch")


def search_to_resume(sweeps: Path, search_id: str) -> Path | None:
    """The newest sweep of this search below `sweeps`."""
    found = [path.parent for path in sweeps.glob(f"*/{IDENTITY}") if _id_of(path.parent) == search_id]
    return max(found, default=None)


def _id_of(sweep: Path) -> str | None:
    try:
        content = read_json(sweep / IDENTITY)
    except (OSError, Unreadable):
        return None
    return str(content["id"]) if isinstance(content, dict) and "id" in content else None


def claim(sweep: Path, search: Search, search_id: str, resume: bool) -> None:
    """Take a folder for a search, new or to be continued.

    Raises:
        ConfigError: it holds another search, or this one, and `resume` is false.
    """
    if (sweep / JOURNAL).exists():
        if _id_of(sweep) != search_id:
            raise ConfigError(
                f"hydra.sweep.dir: {sweep} holds another search; pass the ranges, objectives and settings that it was "
                "started with, or choose another folder"
            )
        if not resume:
            raise ConfigError(
                f"hydra.sweep.dir: {sweep} holds this search; pass resume=true to continue it, or choose another folder"
            )
    sweep.mkdir(parents=True, exist_ok=True)
    atomic_write_json(sweep / IDENTITY, {"id": search_id})


class Study:
    """An Optuna study over a `Search`.

    Args:
        sweep: folder of the runs and of the journal.
        sampler: a class of `optuna.samplers`; `options` are its arguments, `seed` the seed of the whole search.

    Raises:
        ConfigError: Optuna is not installed, or knows no such sampler.
    """

    def __init__(self, sweep: Path, search: Search, sampler: str, options: Mapping[str, Any], seed: int) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("hydra/sweeper: optuna is not installed; pip install 'rlhf-lab[optuna]'") from error
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.optuna, self.sweep, self.search = optuna, sweep, search
        self.sampler, self.options, self.seed = sampler, dict(options), seed
        self._sampler(0)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(sweep / JOURNAL))),
            study_name="sweep",
            directions=[optuna.study.StudyDirection[word.upper()] for word in search.directions],
            load_if_exists=True,
        )

    def _sampler(self, number: int) -> Any:
        known = [name for name in dir(self.optuna.samplers) if name.endswith("Sampler") and name != "BaseSampler"]
        if self.sampler not in known:
            raise ConfigError(f"hydra.sweeper.sampler: {self.sampler} is not one of {', '.join(known)}")
        try:
            # Hashed, since generators with neighbouring seeds may begin alike.
            seed = int.from_bytes(sha256(f"{self.seed} {number}".encode()).digest()[:4])
            return getattr(self.optuna.samplers, self.sampler)(seed=seed, **self.options)
        except (TypeError, ValueError, ImportError) as error:
            raise ConfigError(f"hydra.sweeper.sampler: {self.sampler}: {error}") from error

    def _in(self, *states: str) -> list[Any]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in states]

    def run(self, launcher: Launcher, n_trials: int, n_jobs: int) -> None:
        """Run trials until `n_trials` have a result, those of earlier sessions included; a trial that fails now counts
        as well."""
        aims = ", ".join(
            f"{way} {name}" for name, way in zip(self.search.objectives, self.search.directions, strict=True)
        )
        log.info("search: %s; %d trials of %d have a result", aims, len(self._in("COMPLETE")), n_trials)
        left = [(trial.number, dict(trial.params)) for trial in self._in("RUNNING")]
        missing = n_trials - len(self._in("COMPLETE"))
        while missing > 0:
            batch = left[: min(n_jobs, missing)]
            left = left[len(batch) :]
            while len(batch) < min(n_jobs, missing):
                batch.append(self._ask())
            for first, group in _neighbours(batch):
                points = [[*self.search.fixed, *_overrides(params, self.search.parameters)] for params in group]
                for number, result in enumerate(launcher.launch(points, initial_job_idx=first), first):
                    self._tell(number, result)
            missing -= len(batch)
        self._conclude()

    def _ask(self) -> tuple[int, dict[str, Any]]:
        self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask({item.name: self._distribution(item) for item in self.search.parameters})
        return trial.number, dict(trial.params)

    def _distribution(self, item: Parameter) -> Any:
        kinds = self.optuna.distributions
        if item.choices:
            return kinds.CategoricalDistribution(item.choices)
        if item.is_whole:
            return kinds.IntDistribution(int(item.low), int(item.high), log=item.log, step=int(item.step or 1))
        return kinds.FloatDistribution(float(item.low), float(item.high), log=item.log, step=item.step)

    def _tell(self, number: int, result: JobReturn) -> None:
        """Values go into the journal; a point without one, or with one that is not a number, has failed."""
        value = result.return_value
        values = list(value) if isinstance(value, tuple) else [math.nan if value is None else value]
        if len(values) == len(self.search.objectives) and all(math.isfinite(value) for value in values):
            self.study.tell(number, values)
            found = "  ".join(f"{name} {value:.4g}" for name, value in zip(self.search.objectives, values, strict=True))
        else:
            self.study.tell(number, state=self.optuna.trial.TrialState.FAIL)
            found = "failed"
        log.info("trial %d: %s", number, found)

    def _conclude(self) -> None:
        """Say which trials are best, and write it beside the runs."""
        several = len(self.search.objectives) > 1
        best = sorted(self.study.best_trials, key=lambda trial: trial.number) if self._in("COMPLETE") else []
        rows: list[dict[str, Any]] = [
            {
                "trial": trial.number,
                "params": _told(trial.params, self.search.parameters),
                "values": dict(zip(self.search.objectives, trial.values, strict=True)),
            }
            for trial in best
        ]
        content = {"objectives": dict(zip(self.search.objectives, self.search.directions, strict=True)), "best": rows}
        atomic_write_text(self.sweep / RESULT, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        log.info("%d trials of %d have a result", len(self._in("COMPLETE")), len(self.study.get_trials(deepcopy=False)))
        for row in rows:
            shown = " ".join(f"{name}={value}" for name, value in row["params"].items())
            values = "  ".join(f"{name} {value:.4g}" for name, value in row["values"].items())
            log.info("%s: trial %d  %s  %s", "not dominated" if several else "best", row["trial"], shown, values)


def _overrides(params: Mapping[str, Any], parameters: Sequence[Parameter]) -> list[str]:
    # Six digits are enough to try, and keep the names of points short.
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in params.items()}
    return [f"{item.name}={shown[item.name]}" for item in parameters]


def _told(params: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    return {item.name: params[item.name] for item in parameters}


def _neighbours(batch: Sequence[tuple[int, dict[str, Any]]]) -> list[tuple[int, list[dict[str, Any]]]]:
    """Trials by stretches of numbers without a gap, since a launcher numbers what it is given one by one."""
    groups: list[tuple[int, list[dict[str, Any]]]] = []
    for number, params in sorted(batch, key=lambda item: item[0]):
        if groups and groups[-1][0] + len(groups[-1][1]) == number:
            groups[-1][1].append(params)
        else:
            groups.append((number, [params]))
    return groups
