"""What will run, and where, decided before anything runs: parents, identity and directory of every point."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from launch.composition.compose import options, to_config
from launch.composition.explain import explain, parser
from launch.parents import find_parents
from rlhf.config import (
    ChatConfig,
    CollectConfig,
    Config,
    EvaluateConfig,
    LabelConfig,
    MergeConfig,
    PlanConfig,
    PrepareConfig,
    ReportConfig,
    ServeConfig,
    TrainConfig,
    plain,
    validate,
)
from rlhf.config.rules.preparation import source_entries
from rlhf.data.files.values import file_sha256
from rlhf.errors import ConfigError, ParentError
from rlhf.runs import Parent, Summary, all_runs, newest_run, run_id

SECTIONS = ("algo", "model", "models", "reward", "collect", "evaluation", "merge", "chat")
"""What a run's parents depend on."""
WITHOUT_DATA = (ChatConfig, MergeConfig, ReportConfig, LabelConfig, ServeConfig)
"""Verbs that read no data set."""
MOST_POINTS = 10_000
"""Runs of one sweep. Each is planned before the first one starts, which takes too long for more."""


@dataclasses.dataclass
class Point:
    """One run to be: valid, with its parents found and its identity known."""

    config: Config
    parents: dict[str, Parent]
    id: str


class Planner:
    """Plans points and remembers what it found, so that `auto` means one thing for a whole sweep.

    Args:
        outputs: where runs are searched for.
        given: records of parents that a sweep found for this point of it, in place of `auto`.
    """

    def __init__(self, outputs: Path, given: Mapping[str, Any] | None = None) -> None:
        self.outputs, self.given = outputs, dict(given or {})
        self._parents: dict[str, dict[str, Parent]] = {}
        self._hashes: dict[str, str] = {}
        self._latest: tuple[DictConfig, Point] | None = None

    @property
    def sweeps(self) -> Path:
        """Where sweeps go, each into a folder named by its time."""
        return self.outputs / "multirun"

    def register(self) -> None:
        """Let `conf/directories.yaml` name directories by identity."""
        OmegaConf.register_new_resolver("run_id", self._id_of, replace=True)
        OmegaConf.register_new_resolver("sweep_subdir", lambda *, _root_: self.subdirectory(_root_), replace=True)

    def _id_of(self, *, _root_: DictConfig) -> str:
        """The name of a directory has the identity in it, mostly of what was planned a moment before."""
        if self._latest is not None and self._latest[0] is _root_:
            return self._latest[1].id
        return self.plan(_root_).id

    def check(self, composed: DictConfig) -> Config:
        """The typed configuration.

        Raises:
            ConfigError: a value or a combination is impossible.
        """
        config = to_config(composed)
        validate(config)
        return config

    def plan(self, composed: DictConfig, resuming: Path | None = None) -> Point:
        """Validate a composition, find its parents and compute its identity.

        Args:
            resuming: a run directory whose own parents take the place of `auto`.

        Raises:
            UserError: the configuration, a data file or a parent is impossible.
        """
        config = self.check(composed)
        if isinstance(config, PlanConfig):
            return Point(config, {}, "")  # there will be no run, and nothing that it needs must be here
        content = plain(config)
        named = [content.get(section) for section in SECTIONS]
        key = json.dumps([*named, str(resuming)], sort_keys=True)
        if key not in self._parents:
            self._parents[key] = self._find_parents(config, resuming)
        parents = self._parents[key]
        hashes = {name: parent.identity for name, parent in parents.items()}
        init = parents.get("model.init")
        if init is not None and init.sha256 is not None:
            # Weights that are known by their hash may lie anywhere.
            hashes["model.path"] = init.sha256
        if not isinstance(config, WITHOUT_DATA) and any(map(config.data.reads_locally, config.data.paths)):
            hashes["data.path"] = " ".join(
                self._sha256(path) if config.data.reads_locally(path) else path for path in config.data.paths
            )
        chosen = config.data.chat_template if isinstance(config, TrainConfig) else None
        if chosen is not None and Path(chosen).is_file():
            hashes["data.chat_template"] = self._sha256(chosen)
        if not isinstance(config, WITHOUT_DATA) and config.data.val_path is not None:
            hashes["data.val_path"] = self._sha256(config.data.val_path)
        if isinstance(config, TrainConfig):
            hashes |= {name: self._sha256(path) for name, path in config.algo.files().items()}
        if isinstance(config, PrepareConfig):
            hashes |= self._of_preparation(config)
        if isinstance(config, EvaluateConfig):
            for name in ("text", "reward_bench"):
                if (path := getattr(config.evaluation, name)) is not None:
                    hashes[f"evaluation.{name}"] = self._sha256(path)
        if isinstance(config, CollectConfig):
            hashes |= self._of_collection(config)
        for listed in ("evaluation.ensemble", "algo.reward_model", "collect.ensemble"):
            members = [identity for name, identity in hashes.items() if name.startswith(f"{listed}.")]
            hashes |= {listed: " ".join(members)} if members else {}
        for named_ones in ("evaluation.proxies", "evaluation.policies", "evaluation.rounds"):
            members = [f"{name} {identity}" for name, identity in hashes.items() if name.startswith(f"{named_ones}.")]
            hashes |= {named_ones: " ".join(members)} if members else {}
        if isinstance(config, MergeConfig):
            content["models"] = [hashes[name] for name in parents if name.startswith("models.")]
        point = Point(config, parents, run_id(content, hashes))
        self._latest = composed, point
        return point

    def _of_collection(self, config: CollectConfig) -> dict[str, str]:
        """Answers that it ranks, rules that it ranks by, and pairs that it leaves out, by their content."""
        given = {"collect.answers": config.collect.answers, "collect.rubric": config.collect.rubric}
        found = {name: self._sha256(path) for name, path in given.items() if path is not None}
        if asked_before := config.collect.exclude:
            found["collect.exclude"] = " ".join(map(self._sha256, asked_before))
        return found

    def _of_preparation(self, config: PrepareConfig) -> dict[str, str]:
        """Its sources, each with what it says for itself, what a model is given to write more, and the evaluations that
        it is compared to."""
        synthetic = config.synthetic
        given = {
            "synthetic.path": synthetic.path,
            "synthetic.constitution": synthetic.constitution,
            "synthetic.endpoint.prompts": synthetic.endpoint.prompts,
        }
        found = {name: self._sha256(path) for name, path in given.items() if path is not None}
        if config.sources:
            entries = [
                {**vars(entry), "path": self._sha256(entry.path) if entry.is_local else entry.path}
                for entry in source_entries(config)
            ]
            found["sources"] = json.dumps(entries, sort_keys=True)
        if against := config.decontamination.against:
            found["decontamination.against"] = " ".join(map(self._sha256, against))
        return found

    def subdirectory(self, composed: DictConfig) -> str:
        """The subdirectory of a sweep's point: `<number>-<id>`, or, with `resume`, the absolute path of the run that it
        continues."""
        point = self.plan(composed)
        name = f"{composed.hydra.job.num}-{point.id}"
        if resumes(point.config) and not (Path(composed.hydra.sweep.dir) / name).exists():
            found = newest_run(self.outputs, point.id)
            if found is not None:
                return str(found)
        return name

    def sweep_to_resume(self, ids: Sequence[str]) -> Path | None:
        """The newest sweep below `outputs` that holds one of these runs."""
        root = self.sweeps
        sweeps = {path.parent for path, summary in all_runs(root) if summary.id in ids and path.parent.parent == root}
        return max(sweeps, default=None)

    def _find_parents(self, config: Config, resuming: Path | None) -> dict[str, Parent]:
        recorded = Summary.read(resuming).parents if resuming is not None else self.given
        config = copy.deepcopy(config)
        for name, record in recorded.items():
            section, _, key = name.partition(".")
            # The other kinds, pretrained and random, are words of their own: since then `auto` may have come to mean
            # a run that has finished meanwhile.
            word = record.get("directory") or "" if record["kind"] in ("run", "folder") else record["kind"]
            _replace_auto(getattr(config, section, None), key, word)
        parents = find_parents(config, self.outputs)
        return {
            name: dataclasses.replace(parent, reason=recorded[name].get("reason", ""))
            if name in recorded and recorded[name].get("sha256") == parent.sha256
            else parent
            for name, parent in parents.items()
        }

    def _sha256(self, path: str) -> str:
        if path not in self._hashes:
            self._hashes[path] = file_sha256(path)
        return self._hashes[path]


def _replace_auto(section: Any, key: str, directory: str) -> None:
    """Set a key that is `auto`; sections are dataclasses, or dictionaries such as `models`."""
    if isinstance(section, dict):
        if section.get(key) == "auto":
            section[key] = directory
    elif getattr(section, key, None) == "auto":
        setattr(section, key, directory)


def resumes(config: Config) -> bool:
    """Whether an earlier run of the same experiment is to be continued."""
    return bool(getattr(config, "resume", False))


def holds_run(directory: Path) -> bool:
    """Whether there is a run in a directory, finished or not."""
    try:
        Summary.read(directory)
    except ParentError:
        return False
    return True


def without_sweeps(overrides: Sequence[str]) -> list[str]:
    """The overrides that all points of a sweep share.

    Raises:
        ConfigError: one can't be read.
    """
    return [item.input_line or "" for item in parsed(overrides) if not item.is_sweep_override()]


def points(overrides: Sequence[str], base: DictConfig) -> list[list[str]]:
    """The overrides of every point of a sweep, as Hydra's basic sweeper makes them.

    Args:
        base: what the points share, with the sweeper's own parameters. Of another sweeper, which decides as it goes,
            only this base can be checked beforehand.

    Raises:
        ConfigError: the basic sweeper can't sweep over such a value, or it makes too many points.
    """
    sweeper = base.hydra.sweeper
    if not str(sweeper.get("_target_", "")).endswith("BasicSweeper"):
        return [without_sweeps(overrides)]
    parameters = [f"{name}={value}" for name, value in (sweeper.get("params") or {}).items()]
    items = parsed([*parameters, *overrides])
    try:
        # Counted first: the sweeper would list all of range(1,1000000000000) in memory.
        many = math.prod({item.get_key_element(): _choices(item) for item in items}.values())
        if not 0 < many <= MOST_POINTS:
            found = f"{Decimal(many):.2e}, more than {MOST_POINTS:,}" if many else "no"
            raise ConfigError(f"--multirun: {' '.join(overrides)} makes {found} runs")
        batches = BasicSweeper.split_arguments(items, max_batch_size=None)
    except (HydraException, ValueError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"--multirun: {error}; list the values, as in algo.lr=1e-4,1e-3") from error
    return [point for batch in batches for point in batch]


def _choices(item: Override) -> int:
    """How many values an override takes in a sweep."""
    value = item.value()
    if isinstance(value, RangeSweep) and value.step and value.start is not None and value.stop is not None:
        start, stop, step = (Decimal(number) for number in (value.start, value.stop, value.step))
        return max(0, math.ceil((stop - start) / step))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def parsed(overrides: Sequence[str]) -> list[Override]:
    """What Hydra's grammar makes of overrides.

    Raises:
        ConfigError: one can't be read.
    """
    try:
        return list(parser().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        raise ConfigError(explain(error, overrides, options())) from error
