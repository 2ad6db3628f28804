"""A finished model, and how its answers are sampled: what verbs that ask models have in common."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf.config.keys import key


@dataclass
class SourceConfig:
    """A finished model."""

    init: str = key("auto", "a run directory or a model folder; auto: the newest finished run that suits")


@dataclass
class SamplingConfig:
    """How a finished model's answers are sampled."""

    engine: str = key("torch", "in process, or vLLM", choices=("torch", "vllm"))
    temperature: float = key(1.0, "0 is greedy", ge=0, le=10)
    top_k: int = key(0, "keep the k likeliest tokens; 0: all", ge=0)
    top_p: float = key(1.0, "keep the likeliest tokens up to this mass; 1: all", gt=0, le=1)
    max_new_tokens: int | None = key(
        None,
        "longest completion; null: as the model was trained; a folder: as the runs beside it, else 128",
        ge=1,
        unit="tokens",
    )
    max_rows: int = key(256, "completions that are decoded at the same time", ge=1)
