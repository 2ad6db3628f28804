"""What an optimising sweep may vary, from Hydra's grammar: `algo.lr=tag(log,interval(1e-5,1e-3))` and its like."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from launch.planner import Planner, parsed
from rlhf.config import TrainConfig, lookup
from rlhf.config.objective import maximised, objectives
from rlhf.errors import ConfigError

DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class Parameter:
    """A key with what it may be.

    Attributes:
        low, high: bounds of a number, both included.
        log: whether its logarithm is what is spread evenly.
        step: between neighbouring values; `None`: anything in between.
        choices: texts to choose from; empty for a number.
        relative: whether the bounds are factors of the value that the key has without a search.
    """

    name: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    step: float | int | None = None
    choices: tuple[str, ...] = ()
    relative: bool = False

    def at(self, base: Any) -> Parameter:
        """The bounds themselves, where they were factors of what the key is without a search.

        Raises:
            ConfigError: that is not a number.
        """
        if not self.relative:
            return self
        if isinstance(base, bool) or not isinstance(base, (int, float)):
            raise ConfigError(f"{self.name}: {base} can't be multiplied; leave the tag relative out")
        # Six digits, as in the names of points.
        low, high = (float(f"{bound * base:.6g}") for bound in (self.low, self.high))
        return dataclasses.replace(self, low=low, high=high, relative=False)

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that are checked before a search begins: what holds at both ends of a range holds within."""
        return self.choices or (repr(self.low), repr(self.high))


@dataclass(frozen=True)
class Search:
    """A search as a whole.

    Attributes:
        parameters: what varies.
        fixed: the other overrides.
        objectives, directions: metrics, and `maximize` or `minimize` for each.
    """

    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...]
    objectives: tuple[str, ...]
    directions: tuple[str, ...]

    @property
    def corners(self) -> list[list[str]]:
        """Points that are checked before the first one runs: every parameter at its ends, the others at their first."""
        first = {item.name: item.ends[0] for item in self.parameters}
        points = [first] + [first | {item.name: end} for item in self.parameters for end in item.ends[1:]]
        return [[*self.fixed, *(f"{name}={value}" for name, value in point.items())] for point in points]

    def id(self, base: str) -> str:
        """Eight hex digits, equal for searches that may continue each other.

        Args:
            base: id of a run with the fixed overrides alone, which knows data and parents.
        """
        content = [base, repr(sorted(self.parameters, key=lambda item: item.name)), self.objectives, self.directions]
        return sha256(json.dumps(content).encode()).hexdigest()[:8]


def split(overrides: Sequence[str]) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """What varies, and the overrides that don't; of two that name the same key the later one holds.

    Raises:
        ConfigError: an override can't be read, or a range is empty or not positive where its logarithm is taken.
    """
    found: dict[str, Parameter | str] = {}
    for item in parsed(overrides):
        name = item.get_key_element()
        found.pop(name, None)
        found[name] = _parameter(name, item) if item.is_sweep_override() else item.input_line or ""
    parameters = tuple(value for value in found.values() if isinstance(value, Parameter))
    return parameters, tuple(value for value in found.values() if isinstance(value, str))


def _parameter(name: str, item: Override) -> Parameter:
    value: Any = item.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if low is None or high is None or not low < high or (log and low <= 0):
            raise ConfigError(
                f"{item.input_line}: an interval needs two numbers, the smaller one first, and with log both above 0"
            )
        return Parameter(name, low, high, log, relative="relative" in value.tags)
    if isinstance(value, RangeSweep):
        values = list(value.range())
        if not values:
            raise ConfigError(f"{item.input_line}: the range is empty")
        return Parameter(name, min(values), max(values), step=abs(value.step or 1))
    assert isinstance(value, ChoiceSweep)
    return Parameter(name, choices=tuple(item.sweep_string_iterator()))


def directions(names: Sequence[str], given: Sequence[str] | str | None) -> tuple[str, ...]:
    """A direction for each objective; where none are given, by the metrics' names: losses and KL down, others up.

    Raises:
        ConfigError: their number differs, or one is no direction.
    """
    if given is None:
        return tuple("maximize" if maximised(name) else "minimize" for name in names)
    chosen = (given,) if isinstance(given, str) else tuple(given)
    for word in chosen:
        if word not in DIRECTIONS:
            raise ConfigError(f"hydra.sweeper.directions: {word!r} is not one of {' | '.join(DIRECTIONS)}")
    if len(chosen) != len(names):
        raise ConfigError(
            f"hydra.sweeper.directions: {len(chosen)} for {len(names)} objectives ({', '.join(names)}); "
            "give one for each of train.objective, or null"
        )
    return chosen


def search_of(
    overrides: Sequence[str],
    sweeper: Mapping[str, Any],
    compose: Callable[[Sequence[str]], DictConfig],
    planner: Planner,
) -> tuple[Search, str]:
    """The search that these overrides and the sweeper's configuration describe, and its id.

    Args:
        compose: makes a composition of overrides.

    Raises:
        UserError: it is impossible, or there is nothing to search.
    """
    given = [f"{name}={value}" for name, value in (sweeper.get("params") or {}).items()]
    parameters, fixed = split([*given, *overrides])
    if not parameters:
        raise ConfigError(
            "--multirun: nothing to search; give ranges, as in 'algo.lr=tag(log,interval(1e-5,1e-3))', or leave "
            "hydra/sweeper=optuna out"
        )
    point = planner.plan(compose(fixed))
    if not isinstance(point.config, TrainConfig):
        raise ConfigError("hydra/sweeper: optuna searches by metrics of training; use it with train.py")
    parameters = tuple(item.at(_value(point.config, item.name)) for item in parameters)
    names = tuple(objectives(point.config))
    found = Search(parameters, fixed, names, directions(names, sweeper.get("directions")))
    return found, found.id(point.id)


def _value(config: TrainConfig, name: str) -> Any:
    """What a key is; `None` where there is no such key, which composing the first point reports."""
    try:
        return lookup(config, name)
    except AttributeError:
        return None
