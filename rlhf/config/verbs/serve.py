"""What `serve.py` needs to know: a finished model behind an OpenAI-compatible chat-completions server."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlhf.config.address import TOKEN
from rlhf.config.keys import key
from rlhf.config.sections import StrategyConfig
from rlhf.config.sources import SamplingConfig, SourceConfig


@dataclass
class ServeConfig:
    """Everything that `serve.py` needs to know."""

    model: SourceConfig = field(default_factory=SourceConfig)
    host: str = key("127.0.0.1", f"address that the server listens at; one that others reach needs {TOKEN}")
    port: int = key(8000, "of the server; 0: any free one", ge=0, le=65535)
    max_length: int | None = key(
        None,
        "longest conversation with its answer; null: what the model's positions allow, else 512",
        ge=2,
        unit="tokens",
    )
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rollout: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = key(1, "sampling, beside the seed of a request", ge=0, le=2**32 - 1)
