"""Reference log-probabilities on disk: a run's own file, and a cache that runs with the same reference share."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf.config import TrainConfig
from rlhf.data.rows import Row

log = logging.getLogger("rlhf")

CACHE = Path("outputs/.cache/reference")
"""Where `conf/directories.yaml` has the runs, so that both are deleted together."""


def cached(weights: str | None, rows: Mapping[str, Sequence[Row]], config: TrainConfig) -> Path | None:
    """The file that holds what these weights say of these rows; `None` where nobody knows the weights' hash.

    The name is the hash of all that decides the last bit of the numbers: weights, tokens (and so data, template and
    tokenizer), precision (of frozen weights too), and the micro-batches that they are computed in. A run therefore ends
    the same whether it computes them or finds them.

    Args:
        weights: sha256 of the reference's safetensors.
    """
    if weights is None:
        return None
    digest = hashlib.sha256()
    facts = [weights, config.strategy.precision, config.strategy.threads, config.train.tokens_per_microbatch]
    if config.model.quantize != "none":
        facts.append(config.model.quantize)
    if config.strategy.tensor_parallel > 1:
        facts.append(config.strategy.tensor_parallel)  # its sums are rounded in another order
    digest.update(json.dumps(facts).encode())
    for split, found in rows.items():
        for row in found:
            digest.update(json.dumps([split, row.index, row.prompt, row.responses]).encode())
    return CACHE / f"{digest.hexdigest()[:32]}.safetensors"


def read(path: Path | None) -> dict[str, Tensor] | None:
    """What `write` wrote; `None` where there is nothing that can be read, with a warning if there is a broken file."""
    if path is None or not path.exists():
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        log.warning("%s can't be read (%s) and is left alone", path, error)
        return None


def write(path: Path | None, reference: dict[str, Tensor]) -> None:
    """Put a whole file in its place; processes that write the same file don't meet."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file(reference, part)
    part.replace(path)
