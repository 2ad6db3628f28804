"""Weights of several model folders merged into one, a tensor at a time: what it takes is a file of the result."""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rlhf.errors import ParentError
from rlhf.models.files.precision import DTYPES
from rlhf.progress import ProgressBar
from rlhf.storage.reading import Unreadable, read_json
from rlhf.storage.weights import INDEX, weight_files

if TYPE_CHECKING:
    from torch import Tensor

Combine = Callable[[Sequence["Tensor"], "Tensor | None"], "Tensor"]
"""One tensor from those of all models and, where there is one, that of what they started from."""

SHARD = "2GB"
"""The largest file of the result, which is held in memory whole."""
COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""Files of the first model that belong to the result too: configuration, tokenizer, chat template."""
OWN = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "id2label", "label2id")
OWN_ENDINGS = ("_token_id", "_fingerprint", "_template", "_dropout", "_pdrop")
"""Keys of `config.json`, and ends of such, that may differ between models whose weights mean the same."""
MEAN = "reward_mean"


class Weights:
    """The tensors of a model folder, read when they are asked for.

    Raises:
        ParentError: a file can't be read.
    """

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        try:
            for path in weight_files(folder):
                file = opened.enter_context(safe_open(path, "pt"))
                self._files |= dict.fromkeys(file.keys(), file)
            self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in self._files.items()}
        except (SafetensorError, OSError) as error:
            raise ParentError(f"{folder}: its weights can't be read: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self._files[name].get_tensor(name)
        return found

    def empty(self, name: str, dtype: torch.dtype | None) -> Tensor:
        """A tensor of this one's size, without content; floating ones of another type if one is given."""
        kind = self[name].dtype
        return torch.empty(self.shapes[name], dtype=(dtype or kind) if kind.is_floating_point else kind, device="meta")


def settings(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder.

    Raises:
        ParentError: it can't be read.
    """
    try:
        content = read_json(folder / "config.json")
    except (OSError, Unreadable) as error:
        raise ParentError(f"{folder / 'config.json'}: can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ParentError(f"{folder / 'config.json'}: must hold a JSON object")
    return content


def check_alike(named: dict[str, Path]) -> None:
    """Refuse to merge models of which the same weight doesn't mean the same.

    Args:
        named: model folders, by the keys that named them.

    Raises:
        ParentError: two differ in a setting.
    """
    (first_key, first), *others = ((key, settings(folder)) for key, folder in named.items())
    for key, other in others:
        for name in sorted((first.keys() & other.keys()) - {*OWN, MEAN}):
            if first[name] != other[name] and not name.endswith(OWN_ENDINGS):
                raise ParentError(
                    f"{key}: {named[key]} has {name}={other[name]!r}, and {first_key} {first[name]!r}; weights can be "
                    "merged of models of one architecture, which started from the same weights"
                )


def write_merged(
    folder: Path, models: Sequence[Path], init: Path | None, combine: Combine, *, dtype: str = "auto"
) -> int:
    """Write the weights of one model that is made of several, with the first one's configuration and tokenizer.

    Args:
        folder: to write to; it exists.
        init: what they all started from.
        combine: is given fp32, fp16 or bf16 tensors; its result is rounded to `dtype`.
        dtype: `auto` keeps each weight in the first model's precision.

    Returns: the number of parameters.

    Raises:
        ParentError: the models have different tensors, or a result is not finite.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    wanted = None if dtype == "auto" else DTYPES[dtype]
    with ExitStack() as opened:
        first, *others = [Weights(path, opened) for path in [*models, *([] if init is None else [init])]]
        for other in others:
            _check_shapes(first, other)
        start = others.pop() if init is not None else None
        empty = {name: first.empty(name, wanted) for name in first.shapes}
        plan = split_torch_state_dict_into_shards(empty, max_shard_size=SHARD)
        with ProgressBar("merging", len(empty)) as progress:
            for file, names in plan.filename_to_tensors.items():
                made: dict[str, Tensor] = {}
                for name in names:
                    made[name] = _one(name, [first, *others], start, combine, empty[name].dtype)
                    progress(progress.done + 1)
                save_file(made, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        content = {"metadata": dict(plan.metadata), "weight_map": plan.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in sorted(models[0].iterdir()):
        if path.is_file() and path.name != INDEX and any(fnmatch.fnmatch(path.name, like) for like in COPIED):
            shutil.copyfile(path, folder / path.name)
    return sum(tensor.numel() for tensor in empty.values())


def change_settings(folder: Path, changes: dict[str, Any]) -> None:
    """Set keys of a model folder's `config.json`."""
    content = settings(folder) | changes
    (folder / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_shapes(first: Weights, other: Weights) -> None:
    if odd := sorted(first.shapes.keys() ^ other.shapes.keys()):
        raise ParentError(
            f"{other.folder}: {odd[0]} stands on one side only, beside {first.folder}; the models are not of one kind"
        )
    for name, shape in first.shapes.items():
        if other.shapes[name] != shape:
            raise ParentError(
                f"{other.folder}: {name} has the shape {list(other.shapes[name])}, and in {first.folder} {list(shape)}"
            )


def _one(name: str, models: Sequence[Weights], start: Weights | None, combine: Combine, dtype: torch.dtype) -> Tensor:
    found = [model[name] for model in models]
    if not found[0].is_floating_point():
        if any(not torch.equal(found[0], other) for other in found[1:]):
            raise ParentError(f"{models[0].folder}: {name} holds whole numbers, and others in other models")
        return found[0]
    merged = combine(found, None if start is None else start[name]).to(dtype)
    if not merged.isfinite().all():
        raise ParentError(f"{name}: the merged weights are not finite in {str(dtype).removeprefix('torch.')}")
    return merged.contiguous()
