"""The algorithms: one file each, found by being there. Your own package adds its file by an entry point.

Nothing here imports torch. What the lab asks of an algorithm stands on its class, see `base.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

from rlhf.config.algorithms.base import AlgoConfig
from rlhf.errors import ConfigError

GROUP = "rlhf_lab.algorithms"
"""Entry points: the name is the algorithm's, the value the module that holds its class."""

FAMILIES = ("base", "on_policy", "critic_free")
"""Files of this package that hold what algorithms share."""


@cache
def algorithms() -> dict[str, type[AlgoConfig]]:
    """Classes by name, each after the one that it starts from; reward models before what learns from them.

    Raises:
        ConfigError: a file of an entry point can't be imported, or holds no algorithm.
    """
    own = (info.name for info in pkgutil.iter_modules(__path__) if info.name not in FAMILIES)
    found = [_class_in(name.replace("_", "-"), importlib.import_module(f"{__name__}.{name}")) for name in own]
    found += [_class_in(point.name, _imported(point.name, point.value)) for point in entry_points(group=GROUP)]
    by_name: dict[str, type[AlgoConfig]] = {}
    for cls in found:
        if by_name.setdefault(cls.name, cls) is not cls:
            raise ConfigError(
                f"algo.name: two classes are {cls.name}: {by_name[cls.name].__module__}, {cls.__module__}"
            )

    def depth(cls: type[AlgoConfig] | None) -> int:
        before = by_name.get(cls.starts_from or "") if cls is not None else None
        return 0 if before is None or before is cls else 1 + depth(before)

    order = sorted(by_name.values(), key=lambda cls: (depth(cls), cls.exports != "scorer", cls.on_policy, cls.name))
    return {cls.name: cls for cls in order}


def of_scorers() -> list[str]:
    """Names of the algorithms that make reward models."""
    return [name for name, cls in algorithms().items() if cls.exports == "scorer"]


def of_reward_models() -> list[str]:
    """Names of the algorithms whose runs `algo.reward_model=auto` may take: their models score whole answers."""
    return [name for name in of_scorers() if not algorithms()[name].scores_steps]


def of_assistants() -> list[str]:
    """Names of the algorithms that make models which answer, the last steps of an alignment first."""
    return [name for name, cls in algorithms().items() if cls.answers()][::-1]


def _imported(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"algo: the package that adds {name} can't be imported ({module}: {error})") from error


def _class_in(name: str, module: ModuleType) -> type[AlgoConfig]:
    """The algorithm that a file holds."""
    classes = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, AlgoConfig)]
    mine = [cls for cls in classes if cls.__module__ == module.__name__ and cls.module]
    if len(mine) != 1 or mine[0].name != name:
        raise ConfigError(
            f"algo: {module.__name__} must hold one algorithm with the name {name}, with its module; it holds "
            f"{', '.join(cls.name for cls in mine) or 'none'}"
        )
    return mine[0]
