"""What `plan.py` needs to know beside what `train.py` does."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlhf.config.keys import key
from rlhf.config.schema import TrainConfig


@dataclass
class PlanSettings:
    """What is planned for: lengths, and the machine."""

    memory: float | None = key(
        None,
        "memory of a device; null: of this machine's, or 80 where GPUs are planned for that it lacks",
        gt=0,
        unit="GB",
    )
    reserve: float = key(0.1, "share of it that is left free: for fragments, kernels, the CUDA context", ge=0, lt=1)
    prompt_tokens: int | None = key(
        None, "length of every prompt; null: of the data, or where reading it is not cheap, by data.max_length", ge=1
    )
    response_tokens: int | None = key(
        None, "length of every response; null: of the data, and for PPO rollout.max_new_tokens", ge=1
    )
    tflops: float | None = key(None, "peak arithmetic of a device in strategy.precision; null: no times", gt=0)
    utilisation: float = key(
        0.4, "share of that peak that is reached", gt=0, le=1, source="Chowdhery et al. 2022, table 3: 0.2 to 0.46"
    )
    bandwidth: float | None = key(
        None, "memory bandwidth of a device, which bounds sampling; null: arithmetic alone", gt=0, unit="GB/s"
    )
    price_per_hour: float | None = key(None, "price of a device per hour, in any currency; null: no cost", ge=0)


@dataclass
class PlanConfig(TrainConfig):
    """Everything that `plan.py` needs to know: what `train.py` does, and the machine."""

    plan: PlanSettings = field(default_factory=PlanSettings)
