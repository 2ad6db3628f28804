"""Folders that hold an adapter and not the weights that it belongs to, as `peft` writes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rlhf.errors import ParentError
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.weights import is_possible, weights_sha256

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def base_of(folder: Path) -> str | None:
    """Folder or hub name of the weights that an adapter belongs to; `None` where the folder holds a whole model.

    Raises:
        ParentError: the adapter does not say, or its base is not there, or it is pickled.
    """
    if not (folder / SETTINGS).is_file() or (folder / "config.json").exists():
        return None
    try:
        content = read_json(folder / SETTINGS)
    except (Unreadable, OSError) as error:
        raise ParentError(f"{folder / SETTINGS}: can't be read: {error}") from error
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    if not isinstance(base, str) or not base:
        raise ParentError(f"{folder}: holds an adapter that does not say what it belongs to; merge it into its model")
    if not (folder / WEIGHTS).is_file():
        raise ParentError(f"{folder}: holds an adapter without {WEIGHTS}; pickled ones are not loaded")
    if not is_possible(base):
        raise ParentError(
            f"{folder}: holds an adapter whose base has a name of {len(base)} characters that no model can have: "
            f"{base[:80]!r}"
        )
    for place in (Path(base), folder / base):
        if (place / "config.json").is_file():
            return str(place.absolute())
    if base.startswith(("/", ".", "~")) or base.count("/") > 1 or "\\" in base or Path(base).exists():
        raise ParentError(
            f"{folder}: holds an adapter on {base}, which is no model folder here; put that in its place, or merge the "
            "adapter where its model is"
        )
    return base


def holds_head(folder: Path) -> bool:
    """Whether a reward model's head lies beside the adapter."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return any(".score." in f".{name}" for name in file.keys())  # noqa: SIM118 (no dictionary)
    except (SafetensorError, OSError):
        return False


def adapter_sha256(folder: Path, base: str) -> str:
    """Hash of an adapter with its base: of the base's weights where they are here, else of its name."""
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes())
    digest.update((folder / SETTINGS).read_bytes())
    digest.update((weights_sha256(Path(base)) if Path(base).is_dir() else base).encode())
    return digest.hexdigest()
