"""Reference log-probabilities on disk: a run's own file, and a cache that runs with the same reference share."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rlhf.config import TrainConfig
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel
from rlhf.runs.files import writing
from rlhf.storage.reading import Unreadable, open_regular, read_json

log = logging.getLogger("rlhf")

CACHE = Path("outputs/.cache/reference")
"""Where `conf/directories.yaml` has the runs, so that both are deleted together."""
VOLATILE = ("_name_or_path", "transformers_version", "architectures")
"""Keys of a model's `config.json` that don't change what it computes."""


@dataclass(frozen=True)
class Reference:
    """What is asked of a reference, and where the answer may lie.

    Attributes:
        key: sha256, hexadecimal, of all that decides the last bit of the numbers; `None`: it is not known.
        rows: all that training and validation will ask for, by split.
        store: the run's own file; `None` keeps the numbers in memory only.
        per_token: a number for each token of a row's responses, in their order, instead of one for each response.
        load: loads the model that is asked; `None`: it is the policy before its first update.
    """

    rows: Mapping[str, Sequence[Row]]
    key: str | None = None
    store: Path | None = None
    per_token: bool = False
    load: Callable[[], LanguageModel] | None = None

    @property
    def cache(self) -> Path | None:
        """The file that runs with the same reference and rows share."""
        return None if self.key is None else CACHE / f"{self.key[:32]}.safetensors"

    def beside(self, more: Mapping[str, Sequence[Row]]) -> Reference:
        """The same reference, asked of more rows too, under names of splits that are not taken."""
        key = self.key
        if key is not None:
            digest = hashlib.sha256(key.encode())
            _add_rows(digest, more)
            key = digest.hexdigest()
        return replace(self, rows={**self.rows, **more}, key=key)

    def stored(self) -> dict[str, Tensor] | None:
        """What the run itself wrote, perhaps on another layout, device or version of PyTorch, so `key` may differ."""
        return self._read(self.store, {"rows": self._rows_key()})

    def shared(self) -> dict[str, Tensor] | None:
        """What another run wrote into the cache."""
        return self._read(self.cache, {"rows": self._rows_key(), "key": self.key or ""})

    def _read(self, path: Path | None, wanted: Mapping[str, str]) -> dict[str, Tensor] | None:
        """Numbers that can be trusted; `None` where there are none, with a warning if there is a file."""
        if path is None or not os.path.lexists(path):
            return None
        try:
            with open_regular(path) as stream:  # refuses what could be waited upon for ever
                stream.read(1)
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if fault := self._fault(found, facts, wanted):
                raise Unreadable(fault)
        except (OSError, SafetensorError, Unreadable) as error:
            log.warning("%s can't be used: %s", path, error)
            return None
        return found

    def write(self, path: Path | None, reference: dict[str, Tensor]) -> None:
        """Put a whole file in its place; processes that write the same file don't meet.

        Raises:
            OSError: there is no space for it, say.
        """
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            save_file(reference, part, metadata=self._facts(reference))
            part.replace(path)
        except SafetensorError as error:  # it wraps a full disk in an error of its own
            part.unlink(missing_ok=True)
            raise OSError(str(error)) from error
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def keep(self, reference: dict[str, Tensor], cached: bool) -> None:
        """Write what was found to the run's file and, unless it came from there, to the cache.

        Raises:
            TrainingError: the run's own file can't be written. The cache is a convenience: without it, a warning.
        """
        if self.store is not None:
            with writing(self.store):
                self.write(self.store, reference)
        try:
            if not cached and all(bool(torch.isfinite(value).all()) for value in reference.values()):
                self.write(self.cache, reference)
        except OSError as error:
            log.warning("%s can't be written (%s): other runs will compute it again", self.cache, error)

    def _facts(self, reference: Mapping[str, Tensor]) -> dict[str, str]:
        return {"key": self.key or "", "rows": self._rows_key(), "sha256": checksum(reference)}

    def _rows_key(self) -> str:
        """sha256, hexadecimal, of the tokens that are asked for."""
        digest = hashlib.sha256()
        _add_rows(digest, self.rows)
        return digest.hexdigest()

    def _fault(self, found: dict[str, Tensor], facts: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
        rows = [(f"{split}/{row.index}", row.responses) for split, all_of in self.rows.items() for row in all_of]
        shapes = {name: (sum(map(len, said)) if self.per_token else len(said),) for name, said in rows}
        if {name: tuple(value.shape) for name, value in found.items()} != shapes:
            return "its rows are others"
        if not all(value.is_floating_point() for value in found.values()):
            return "it holds no log-probabilities"
        if facts or "key" in wanted:  # runs of earlier versions wrote numbers alone
            if any(facts.get(name) != value for name, value in wanted.items()):
                return "it belongs to other weights, rows or versions"
            if facts.get("sha256") != checksum(found):
                return "its checksum is wrong"
        return None


def _add_rows(digest: Any, rows: Mapping[str, Sequence[Row]]) -> None:
    for split, found in rows.items():
        for row in found:
            digest.update(json.dumps([split, row.index, row.prompt, row.responses]).encode())


def checksum(reference: Mapping[str, Tensor]) -> str:
    """sha256, hexadecimal, over names, types and numbers."""
    digest = hashlib.sha256()
    for name, value in sorted(reference.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def key_of(
    weights: str | None,
    folder: str | None,
    rows: Mapping[str, Sequence[Row]],
    config: TrainConfig,
    device: str = "cpu",
    per_token: bool = False,
) -> str | None:
    """sha256, hexadecimal, of all that decides the last bit of the numbers; `None` where the weights have no hash.

    That is weights and configuration of the model, tokens (and so data, template and tokenizer), precision (of frozen
    weights too), versions, and the micro-batches that they are computed in. A run therefore ends the same whether it
    computes the numbers or finds them.

    Args:
        weights: sha256 of the reference's safetensors.
        folder: where its `config.json` is.
        device: what it is computed on (`cpu`, `gpu`).
        per_token: as of `Reference`.
    """
    if weights is None:
        return None
    facts = [weights, config.strategy.precision, config.strategy.threads, config.train.tokens_per_microbatch]
    facts += [_settings(folder), device, torch.__version__, transformers.__version__]
    if config.model.quantize != "none":
        facts.append(config.model.quantize)
    if config.strategy.tensor_parallel > 1:
        facts.append(config.strategy.tensor_parallel)  # its sums are rounded in another order
    if per_token:
        facts.append("per token")
    digest = hashlib.sha256(json.dumps(facts).encode())
    _add_rows(digest, rows)
    return digest.hexdigest()


def _settings(folder: str | None) -> str:
    """`config.json` of a model folder: rotary frequencies, norms and the like change what the same weights say."""
    try:
        content = read_json(Path(folder or "", "config.json"))
    except (OSError, Unreadable):
        return ""
    return json.dumps({k: v for k, v in dict(content).items() if k not in VOLATILE}, sort_keys=True)
