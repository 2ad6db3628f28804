"""Process reward models: labels on the steps of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rlhf.config.algorithms.base import AlgoConfig, Records, Sections
from rlhf.config.keys import key
from rlhf.errors import ConfigError


@dataclass
class ProcessRewardConfig(AlgoConfig):
    """Process reward model (PRM): a probability at each step's end that it is right (Lightman et al. 2023)."""

    module: ClassVar[str] = "lightning_modules.process_reward:ProcessRewardModule"
    learns_from: ClassVar[Records] = "steps"
    exports: ClassVar[Literal["policy", "scorer"]] = "scorer"
    rate_as: ClassVar[str | None] = "reward"
    scores_steps: ClassVar[bool] = True
    objective: ClassVar[str] = "val/accuracy"

    name: str = key("process-reward", "algorithm", choices=("process-reward",))
    lr: float = key(1e-5, "highest learning rate", gt=0, le=1, source="as in TRL")
    step_separator: str = key(
        r"\n",
        r"what stands between two steps of an answer; \n is a line break. Exports carry it, and split what they score "
        "by it",
        source="as in TRL",
    )
    train_on_last_step_only: bool = key(
        False, "learn the label of each answer's last judged step alone; held-out ones are measured on all"
    )

    def separator(self) -> str:
        return self.step_separator.replace(r"\n", "\n").replace(r"\t", "\t")

    def rules(self, config: Sections) -> None:
        if not self.step_separator:
            raise ConfigError(r"algo.step_separator: empty, so that steps can't be told apart; pass \n or a mark")
