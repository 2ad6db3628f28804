"""KL of a run's samples to its reference, where training itself has no reference at hand (DPO)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from rlhf.config import TrainConfig
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import Tokenizer
from rlhf.evaluation.answers import response_logprobs
from rlhf.models.files.loading import load_policy
from rlhf.models.language import freeze
from rlhf.runs import Parent, atomic_write_text
from rlhf.runs.files import json_line
from rlhf.storage.reading import read_json_lines
from rlhf.storage.shapes import fits

log = logging.getLogger("rlhf")


def draws_from_policy(config: TrainConfig) -> bool:
    """Whether samples come from the policy's own distribution: k1 means nothing for greedy ones, top-k and top-p."""
    rollout = config.rollout
    return rollout.temperature > 0 and rollout.top_k == 0 and rollout.top_p == 1


def add_kl(
    directory: Path,
    prompts: Sequence[Row],
    parent: Parent,
    config: TrainConfig,
    tokenizer: Tokenizer,
    device: torch.device,
) -> None:
    """Put `kl` (k1, nats per response) in the place of each sample's tokens.

    The log-probability under the policy of that step was written when the sample was drawn; the reference is loaded
    once, after training, since DPO keeps none in memory.

    Args:
        prompts: what was sampled at every evaluation, in this order.
    """
    path = directory / "samples.jsonl"
    if parent.source is None or not path.exists():
        return
    records: list[dict[str, Any]] = list(read_json_lines(path))
    pending = list(_pending(records, prompts))
    rows = [row for row, _ in pending]
    try:
        reference = load_policy(parent.source, {}, tokenizer, seed=0).to(device)
        freeze(reference)
        theirs = response_logprobs(reference, rows, config.rollout.temperature, what="KL of samples")
    except torch.OutOfMemoryError:
        log.warning("samples.jsonl: no KL, since the reference does not fit beside the policy")
        return
    for (_, record), logprob in zip(pending, theirs, strict=True):
        record["kl"] = round(record.pop("logprob") - logprob, 4) + 0.0  # no -0.0
        del record["ids"]
    atomic_write_text(path, "".join(json_line(record) for record in records))


def _pending(records: Sequence[dict[str, Any]], prompts: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Samples that have tokens, each as a row behind its prompt. An evaluation of which lines are missing or damaged
    has no KL, since which prompt a line belongs to follows from its place."""
    steps: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        steps.setdefault(str(record.get("step")), []).append(record)
    index = 0
    for found in steps.values():
        whole = len(found) == len(prompts)
        whole = whole and all(fits(r.get("ids"), list[int]) and fits(r.get("logprob"), float) for r in found)
        for prompt, record in zip(prompts, found, strict=False):
            if whole:
                yield Row(prompt.prompt, (tuple(record["ids"]),), index=index), record
                index += 1
