"""From command-line overrides to a typed, validated configuration, through Hydra's composition."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from launch.composition import recipes
from launch.composition.explain import explain, interpolation
from launch.composition.home import at_home, expand_home
from launch.composition.typed import check_typed
from rlhf.config import VERBS, AlgoConfig, Config, TrainConfig, algorithms, validate
from rlhf.data import importers
from rlhf.errors import ConfigError, nearest

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = (
    "algo",
    "model",
    "data",
    "strategy",
    "rollout",
    "reward",
    "logger",
    "callbacks",
    "recipe",
    "experiment",
    "pipeline",
    "tuned",
)
OPTIONAL = {"recipe", "tuned"}
"""Groups whose default is an option named after the model, where there is one."""

OPEN = {"arguments", "extra", "fields", "stop_at", "template_kwargs", "weights"}
"""Mappings with free names; in others, such as the sizes of `model.architecture`, a new name needs a `+`."""


@cache
def register() -> None:
    """Give the schemas to Hydra, under a group that `conf/*.yaml` name in their defaults."""
    store = ConfigStore.instance()
    recipes.register()
    # `algo` starts as the common class, since a composition may narrow a type but not change it.
    for name, schema in VERBS.items():
        content = schema(algo=AlgoConfig()) if issubclass(schema, TrainConfig) else schema
        store.store(group="schema", name=name, node=_open_mappings(OmegaConf.structured(content)), package="_global_")
    for name, schema in algorithms().items():
        node = _open_mappings(OmegaConf.structured(schema))
        # The default of the schema as it stands, or, with adapters, ten times that.
        node.lr = f"${{{recipes.RESOLVER}:}}"
        store.store(group="schema/algo", name=name, node=node)


def _open_mappings(node: DictConfig) -> DictConfig:
    """Let entries be set without a `+` in the mappings of `OPEN`, in place."""
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig) and name in OPEN:
            OmegaConf.set_struct(child, False)
        elif isinstance(child, DictConfig) and dataclasses.is_dataclass(child._metadata.object_type):
            _open_mappings(child)
    return node


@contextmanager
def hydra_session(job_name: str = "train") -> Iterator[Hydra]:
    """Hydra over `conf/`; nothing of an earlier session is left in it, nor of this one afterwards."""
    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), job_name, version_base="1.3"):
            engine = GlobalHydra.instance().hydra
            assert engine is not None
            yield engine
    finally:
        GlobalHydra.instance().clear()


def compose_point(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """One point, with Hydra's own node; to be called within `hydra_session`.

    Raises:
        ConfigError: an override is impossible; in one sentence.
    """
    overrides = at_home(overrides)
    try:
        composed = compose(config_name, overrides, return_hydra_config=True)
    except Exception as error:
        raise ConfigError(explain(error, overrides, options(), config_name)) from error
    _refuse_unknown_choices(composed, overrides, config_name)
    check_typed(overrides, options(), config_name)
    return composed


def _refuse_unknown_choices(composed: DictConfig, overrides: Sequence[str], config_name: str) -> None:
    """Hydra takes any word for a group that is optional; of a word that was typed, there must be a file."""
    for group in OPTIONAL & {item.split("=", 1)[0] for item in overrides}:
        chosen = composed.hydra.runtime.choices.get(group)
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        # With the user's own folders.
        _, repository = loader._parse_overrides_and_create_caching_repo(config_name, list(overrides))
        known = repository.get_group_options(group, ObjectType.CONFIG)
        if chosen not in known:
            raise ConfigError(
                f"{group}={chosen}: no such option{nearest(str(chosen), known)}; {group} is one of {', '.join(known)}"
            )


def to_config(composed: DictConfig) -> Config:
    """Plain dataclasses, interpolations resolved. Ranges are not checked yet; see `rlhf.config.validate`.

    Raises:
        ConfigError: a key that the schemas don't have was added with `+`.
    """
    task = composed.copy()
    with open_dict(task):
        task.pop("hydra", None)
    try:
        config: Any = expand_home(OmegaConf.to_object(task))
    except OmegaConfBaseException as error:
        raise ConfigError(interpolation(error)) from error
    assert isinstance(config, tuple(VERBS.values()))
    _refuse_additions(task, config, "")
    if (data := getattr(config, "data", None)) is not None and data.format not in importers.names():
        allowed = importers.names()  # files of a folder, and of other packages: the schema can't list them
        raise ConfigError(
            f"data.format: {data.format!r} is not one of {' | '.join(allowed)}{nearest(data.format, allowed)}"
        )
    return cast(Config, config)


def _refuse_additions(node: DictConfig, schema: Any, prefix: str) -> None:
    """Hydra lets `+key=value` through even into a typed node; such a key would then be ignored."""
    known = {field.name for field in dataclasses.fields(schema)}
    for name, child in node.items():
        dotted = f"{prefix}{name!s}"
        if name not in known:
            near = nearest(dotted, [f"{prefix}{candidate}" for candidate in known])
            raise ConfigError(f"{dotted}: unknown key{near or '; --help lists all keys'}")
        if dataclasses.is_dataclass(getattr(schema, str(name))):
            _refuse_additions(child, getattr(schema, str(name)), f"{dotted}.")


def load(overrides: Sequence[str], config_name: str = "train") -> TrainConfig:
    """Compose, convert and validate a training run: what tests and notebooks call.

    Raises:
        ConfigError: an override or a value is impossible.
    """
    with hydra_session():
        config = to_config(compose_point(overrides, config_name))
    validate(config)
    assert isinstance(config, TrainConfig)
    return config


@cache
def options() -> dict[str, list[str]]:
    """Every group of `conf/` with its options. Asked for with every override that is read, so looked up once."""
    return {group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in GROUPS}
