"""Which experiment a run is: eight hex digits that are equal when, and only when, the same numbers should come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

IGNORED = ("resume", "logger", "callbacks", "strategy")
"""Sections that decide where and how a run computes and who is told, not what it computes."""

PATHS = ("data.path", "algo.ptx_path", "model.init", "algo.reward_model")
"""Keys that name files: a moved file is the same experiment, a changed one is not."""


def run_id(config: Mapping[str, Any], data_hashes: Mapping[str, str], parent_hashes: Mapping[str, str]) -> str:
    """Eight hex digits of the sha256 of what determines the result.

    Args:
        config: the resolved configuration as plain dictionaries.
        data_hashes: sha256 of the content behind `data.path` and `algo.ptx_path`, by those names. A name without a hash
            (a data set of the hub) counts by its name.
        parent_hashes: sha256 of the weights behind `model.init` and `algo.reward_model`, by those names. Weights that
            aren't on this machine count by their name.
    """
    hashes = {**data_hashes, **parent_hashes}
    content: dict[str, Any] = {}
    for section, value in config.items():
        if section in IGNORED:
            continue
        content[section] = dict(value) if isinstance(value, Mapping) else value
    for path in PATHS:
        section, key = path.split(".")
        if path in hashes and key in content.get(section, {}):
            content[section][key] = hashes[path]
    if "model.init" in parent_hashes:
        # The weights are known by their hash; where a copy of the pretrained ones lies no longer matters.
        content["model"].pop("path", None)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def path_sha256(path: Path) -> str:
    """sha256 of a file, or of a folder's files with their relative names, hidden ones left out."""
    if path.is_file():
        return _sha256([path])
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        relative = file.relative_to(path)
        if not any(part.startswith(".") for part in relative.parts):
            digest.update(f"{relative.as_posix()}\0{_sha256([file])}\n".encode())
    return digest.hexdigest()


def weights_sha256(folder: Path) -> str:
    """sha256 over the safetensors of a model folder, shards in the order of their names."""
    return _sha256(sorted(folder.glob("*.safetensors")))


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
