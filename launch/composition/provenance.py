"""`--cfg job`: the composition, with the file that each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, Node, OmegaConf

from launch.composition import recipes
from launch.composition.help import COLUMN, inline


def page(engine: Hydra, composed: DictConfig, verb: str, overrides: Sequence[str], resolve: bool) -> str:
    """YAML of the composition without Hydra's own node; a comment names the origin of what is not a schema's default.

    Args:
        composed: with Hydra's own node or without it.
        resolve: whether interpolations are replaced by what they stand for. Learning rates always are.
    """
    origin = origins(engine, verb, overrides)
    note = recipes.adapter_note(composed)
    if note is not None:
        where = origin.get("algo.lr", "default of the stage")
        origin["algo.lr"] = f"{where}; {note.removeprefix('algo.lr: ')}"
    return "\n".join(_lines(composed, origin, resolve, "", "")) + "\n"


def origins(engine: Hydra, verb: str, overrides: Sequence[str]) -> dict[str, str]:
    """The last file, or the command line, that set each dotted key; keys that only schemas set are left out."""
    loader = engine.config_loader
    assert isinstance(loader, ConfigLoaderImpl)
    found: dict[str, str] = {}
    defaults = loader.compute_defaults_list(verb, list(overrides), RunMode.RUN)
    _, repository = loader._parse_overrides_and_create_caching_repo(verb, list(overrides))
    for default in defaults.defaults:
        if default.config_path is None or default.config_path.startswith("hydra/"):
            continue
        loaded = loader._load_single_config(default, CachingConfigRepository(repository))
        # Schemas are given to Hydra as objects, files have a path.
        folder = "conf" if loaded.provider == "main" else loaded.path.removeprefix("file://")
        content = OmegaConf.to_container(loaded.config, resolve=False)
        for name in _leaves(content, ""):
            found.pop(name, None)
            if not loaded.is_schema_source:
                found[name] = f"{folder}/{default.config_path}.yaml"
    for item in defaults.config_overrides:
        name = item.get_key_element().lstrip("+~")
        for known in [known for known in found if known.startswith(f"{name}.")]:
            del found[known]
        found[name] = "command line"
    return found


def _leaves(content: Any, prefix: str) -> Iterator[str]:
    if isinstance(content, Mapping) and content:
        for name, value in content.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix


def _lines(node: DictConfig, origin: Mapping[str, str], resolve: bool, prefix: str, indent: str) -> Iterator[str]:
    for name in [str(name) for name in node if prefix or name != "hydra"]:
        child, dotted = node._get_node(name), f"{prefix}{name}"
        assert isinstance(child, Node)
        said = f"  # {origin[dotted]}" if dotted in origin else ""
        is_link = OmegaConf.is_interpolation(node, name)
        if isinstance(child, DictConfig) and not is_link and not child._is_none() and len(child):
            yield f"{indent}{name}:{said}"
            yield from _lines(child, origin, resolve, f"{dotted}.", f"{indent}  ")
            continue
        value = child._value() if is_link and not resolve and not recipes.is_rate(child) else node[name]
        value = OmegaConf.to_container(value, resolve=resolve) if OmegaConf.is_config(value) else value
        line = f"{indent}{name}: {inline(value)}"
        yield line.ljust(COLUMN) + said if said else line
