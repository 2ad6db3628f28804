"""Which tokens end a text, as a model's own files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf.data.files.hub import reachable
from rlhf.data.tokenizers.vocabulary import read_json


def stop_ids(folder_or_name: str | Path, eos_id: int) -> tuple[int, ...]:
    """`eos_token_id` of `generation_config.json`, else of `config.json`, each id once; the tokenizer's own is added.

    Args:
        folder_or_name: a folder, or a name on the Hugging Face hub.
        eos_id: the tokenizer's end-of-text.
    """
    named: list[int] = []
    for file in ("generation_config.json", "config.json"):
        found = _file(folder_or_name, file)
        named = as_ids(read_json(found).get("eos_token_id")) if found is not None else []
        if named:
            break
    return tuple(dict.fromkeys([*named, eos_id]))


def as_ids(value: Any) -> list[int]:
    """`eos_token_id` as configurations hold it, a number, a list or nothing, as a list."""
    values = value if isinstance(value, list) else [value]
    return [id for id in values if isinstance(id, int) and not isinstance(id, bool) and id >= 0]


def as_value(ids: tuple[int, ...]) -> int | list[int]:
    """The other way round."""
    return ids[0] if len(ids) == 1 else list(ids)


def _file(folder_or_name: str | Path, file: str) -> Path | None:
    if Path(folder_or_name).is_dir():
        return Path(folder_or_name) / file
    from transformers.utils import cached_file

    found = cached_file(
        str(folder_or_name), file, local_files_only=not reachable(), _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    return Path(found) if found is not None else None
