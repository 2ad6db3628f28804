"""Whom we are measured against, and in which settings: as they come, and at their fastest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """Arguments of the peer's configuration.

    Attributes:
        tuned: whether the micro-batch that suits it best is looked for; else it is the peer's default, 8.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    tuned: bool = False


@dataclass(frozen=True)
class Peer:
    """A peer at one stage: the module that runs in its environment, and its settings by name."""

    module: str
    settings: dict[str, Setting]


DEFAULT_MICRO_BATCH = 8
"""`per_device_train_batch_size` of `transformers`, and so of TRL."""

# TRL recomputes activations by default, which costs a third more arithmetic and saves memory.
DIRECT: dict[str, Any] = {"gradient_checkpointing": False}

PEERS: dict[str, dict[str, Peer]] = {
    "trl": {
        "sft": Peer("benchmarks.workers.trl_trainers", {"default": Setting(), "direct": Setting(DIRECT, True)}),
        "reward": Peer("benchmarks.workers.trl_trainers", {"default": Setting(), "direct": Setting(DIRECT, True)}),
        "dpo": Peer(
            "benchmarks.workers.trl_trainers",
            {
                "default": Setting(),
                "direct": Setting(DIRECT, True),
                "precomputed": Setting(DIRECT | {"precompute_ref_log_probs": True}, True),
            },
        ),
        "ppo": Peer("benchmarks.workers.trl_ppo", {"default": Setting(), "tuned": Setting(tuned=True)}),
    }
}
