"""KL of a run's samples to the model that it started from, where training itself has no reference at hand (DPO)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlhf.config import TrainConfig
from rlhf.data.rows import Row
from rlhf.data.tokenizers import Tokenizer
from rlhf.evaluation.answers import response_logprobs
from rlhf.models.language import freeze
from rlhf.models.loading import load_policy
from rlhf.runs import Parent, atomic_write_text

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
    """Put `kl` (k1, nats a response) in the place of each sample's tokens.

    The log-probability under the policy of that step was written when the sample was drawn; the reference is loaded
    once, after training, since DPO keeps none in memory.

    Args:
        prompts: what was sampled at every evaluation, in this order.
    """
    path = directory / "samples.jsonl"
    if parent.source is None or not path.exists():
        return
    records: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pending = [(i, record) for i, record in enumerate(records) if "ids" in record]
    rows = [Row(prompts[i % len(prompts)].prompt, (tuple(record["ids"]),), index=i) for i, record in pending]
    try:
        reference = load_policy(parent.source, {}, tokenizer, seed=0).to(device)
        freeze(reference)
        theirs = response_logprobs(reference, rows, config.rollout.temperature)
    except torch.OutOfMemoryError:
        log.warning("samples.jsonl: no KL, since the reference does not fit beside the policy")
        return
    for (_, record), logprob in zip(pending, theirs, strict=True):
        record["kl"] = round(record.pop("logprob") - logprob, 4) + 0.0  # no -0.0
        del record["ids"]
    atomic_write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
