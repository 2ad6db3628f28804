"""The weight files of a model folder, and a hash that is computed from what will be loaded, never taken on trust."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rlhf.errors import ParentError
from rlhf.progress import ProgressBar
from rlhf.storage.reading import Unreadable, open_regular, read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
EXPLICIT = "transformers_weights"
"""Key of `config.json` by which `transformers` loads another file than these."""
CACHE = Path("outputs/.cache/weights")
"""Hashes of large weights by what the file system says of their files; beside the runs, to be deleted with them."""
LONGEST, LONGEST_PART = 4000, 255
"""Bytes of a path and of its parts, less than which systems take."""
SMALL = 64 * 2**20
"""Bytes that are hashed in less time than a look into the cache would be worth keeping files for."""
SETTLED = 2.0
"""Seconds that a file must have been left alone before its hash is remembered: a change within one tick of the file
system's clock could not be told from none."""

log = logging.getLogger("rlhf")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that `transformers` loads from a folder, sorted; all there are where it names none.

    Links to files elsewhere are followed, since the hub's own cache consists of them; names that lead elsewhere aren't.

    Raises:
        ParentError: an index or `config.json` names a file outside of the folder, one that is no safetensors, or one
            that is missing.
    """
    explicit = _explicit_name(folder)
    if explicit is None and (folder / WEIGHTS).is_file():
        names: list[str] | None = [WEIGHTS]
    else:
        index = explicit or INDEX
        sharded = index.endswith(".index.json") and (folder / index).exists()
        names = shard_names(folder / index) if sharded else [explicit] if explicit else None
    if names is None:
        return sorted(folder.glob("*.safetensors"))
    files = [folder / name for name in names]
    for file in files:
        if not file.is_file():
            raise ParentError(f"{folder}: its weights should be in {file.relative_to(folder)}, which is not there")
    return files


def _explicit_name(folder: Path) -> str | None:
    try:
        content = read_json(folder / "config.json")
    except (Unreadable, OSError):
        return None
    name = content.get(EXPLICIT) if isinstance(content, dict) else None
    if name is None:
        return None
    return _inside(folder / "config.json", name, (".safetensors", ".safetensors.index.json"))


def shard_names(index: Path) -> list[str]:
    """The files that an index of shards names, sorted.

    Raises:
        ParentError: as `weight_files`; or it is no index.
    """
    try:
        content = read_json(index)
    except (Unreadable, OSError) as error:
        raise ParentError(f"{index}: {error}; download the model again") from error
    mapping = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise ParentError(f"{index}: names no weights (weight_map); download the model again")
    return sorted({_inside(index, name, (".safetensors",)) for name in mapping.values()})


def is_possible(name: str) -> bool:
    """Whether a file can have this name; asking for others raises an `OSError` or `ValueError` that names no file."""
    sizes = [len(part.encode(errors="replace")) for part in name.split("/")]
    return "\0" not in name and sum(sizes) + len(sizes) <= LONGEST and max(sizes) <= LONGEST_PART


def _inside(where: Path, name: Any, endings: tuple[str, ...]) -> str:
    """`name`, if it is one of a file of this type below the folder of `where`.

    Raises:
        ParentError: it is not.
    """
    shown = repr(name)[:300]
    parts = PurePosixPath(name).parts if isinstance(name, str) and is_possible(name) else (os.sep,)
    if not parts or parts[0].startswith("/") or ".." in parts or "\\" in name:
        raise ParentError(f"{where}: names {shown}, which is no file of its folder; use weights of another origin")
    if not name.endswith(endings):
        raise ParentError(f"{where}: names {shown} as weights; only safetensors are loaded, convert them first")
    return str(name)


def weights_sha256(folder: Path) -> str:
    """sha256, hexadecimal, over the weight files of a model folder, in the order of their names.

    Computed from their bytes, or remembered from an earlier time at which the same files (device, inode, size, times of
    modification and of status change, which can't be set back) had been read.

    Raises:
        ParentError: as `weight_files`; a file can't be read.
    """
    files = weight_files(folder)
    try:
        before = _facts(files)
        size = sum(fact[3] for fact in before)
        entry = CACHE / f"{hashlib.sha256(json.dumps(before).encode()).hexdigest()[:32]}.json"
        if size > SMALL and (known := remembered(entry, before)):
            return known
        digest = hashlib.sha256()
        with ProgressBar(f"hashing {folder}", size, unit="GB") as progress:
            for file in files:
                with open_regular(file) as stream:
                    while block := stream.read(1 << 22):
                        digest.update(block)
                        progress(progress.done + len(block))
        found = digest.hexdigest()
        newest = max((max(fact[4:]) for fact in before), default=0)
        if size > SMALL and before == _facts(files) and newest < time.time_ns() - SETTLED * 1e9:
            _remember(entry, {"files": before, "sha256": found})
    except (OSError, Unreadable) as error:
        raise ParentError(f"{folder}: its weights can't be read: {error}") from error
    return found


def _facts(files: Sequence[Path]) -> list[list[Any]]:
    facts = [(os.path.realpath(file), os.stat(file)) for file in files]
    return [[name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in facts]


def remembered(entry: Path, facts: list[list[Any]]) -> str | None:
    try:
        content = read_json(entry)
    except (OSError, Unreadable):
        return None
    known = content.get("sha256") if isinstance(content, dict) and content.get("files") == facts else None
    return known if isinstance(known, str) and len(known) == hashlib.sha256().digest_size * 2 else None


def _remember(entry: Path, content: dict[str, Any]) -> None:
    part = entry.with_name(f".{entry.name}.{os.getpid()}.part")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(entry)
    except OSError as error:
        log.warning("%s can't be written (%s): the weights will be hashed again", entry, error.strerror)
