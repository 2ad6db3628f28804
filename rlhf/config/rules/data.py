"""Rules of the section `data`: what is read, and how much of it counts."""

from __future__ import annotations

import re

from rlhf.config.paths import check_exists
from rlhf.config.sections import DataConfig
from rlhf.errors import ConfigError

HUB_NAME = r"(?!.*\.(jsonl|json|gz|parquet|txt)$)[A-Za-z0-9][\w.-]*(/[\w.-]+)?"
"""`owner/name`; what ends like a data file is meant as one, so that a misspelt path is not looked up on the hub."""


def check_data(data: DataConfig) -> None:
    """Raises:
    ConfigError: nothing could be read, or it could not be split.
    """
    check_shape(data)
    if data.is_embedded and data.path is not None:
        raise ConfigError(
            f"data.path: {shown(data)} would not be read with data={data.source}; add data=jsonl to read it"
        )
    if data.source != "hub" and (data.split != "train" or data.subset is not None):
        name = "data.split" if data.split != "train" else "data.subset"
        raise ConfigError(f"{name}: data={data.name} has none; data=hub data.path={shown(data) or 'FOLDER'} reads one")
    if data.val_path is not None:
        if data.is_embedded:
            raise ConfigError("data.val_path: the embedded task has a validation set; add data=jsonl data.path=FILE")
        check_exists("data.val_path", data.val_path)
    if not data.is_embedded and not data.paths:
        wanted = (
            "FILE or data.path=FOLDER" if data.source == "file" else "OWNER/NAME, a data set of the Hugging Face hub"
        )
        raise ConfigError(f"data.path: missing; data={data.name} needs data.path={wanted}")
    for path in data.paths:
        if data.source == "file" or (data.source == "hub" and not re.fullmatch(HUB_NAME, path)):
            check_exists("data.path", path)
    check_fractions(data)


def check_shape(data: DataConfig) -> None:
    """Paths are texts, and weights fit to them.

    Raises:
        ConfigError: they don't.
    """
    several = data.path if isinstance(data.path, list) else [data.path]
    if any(isinstance(path, dict | list) or (path is None and len(several) > 1) for path in several):
        raise ConfigError(f"data.path: {str(data.path)[:80]} is no path; give one, or a list as in data.path=[A,B]")
    for place, path in enumerate(data.paths):
        if path in data.paths[:place]:
            raise ConfigError(f"data.path: {path} is named twice; data.weights says how often a file counts")
    if data.weights and len(data.weights) != len(data.paths):
        raise ConfigError(
            f"data.weights: {len(data.weights)} of them for {len(data.paths)} of data.path; give one for each, as in "
            "data.path=[A,B] data.weights=[2,1]"
        )
    for weight in data.weights:
        if not 0 < weight <= 1000:
            raise ConfigError(f"data.weights: {weight:g} is out of range, must be > 0, ≤ 1000; leave out what has none")


def check_fractions(data: DataConfig) -> None:
    """Raises:
    ConfigError: nothing would be left to train on.
    """
    if data.val_fraction + data.test_fraction >= 1:
        raise ConfigError(
            f"data.val_fraction: {data.val_fraction:g} and data.test_fraction: {data.test_fraction:g} leave nothing to "
            "train on; their sum must be below 1"
        )


def shown(data: DataConfig) -> str:
    """`data.path` as one would type it; empty where there is none."""
    return f"[{','.join(data.paths)}]" if isinstance(data.path, list) else ",".join(data.paths)
