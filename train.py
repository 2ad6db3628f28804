"""Train one stage: `python train.py algo=dpo model=gpt2`; `python train.py --help` shows what can be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.app import verb

if TYPE_CHECKING:
    from launch.objective import Value
    from rlhf.config import TrainConfig
    from rlhf.runs import Run


@verb("train")
def train(config: TrainConfig, run: Run, overrides: list[str]) -> Value:
    """Train one stage (pretrain, sft, reward, dpo or ppo), and export the model that comes out."""
    # Here, since it imports torch, and a mistyped key should be told without waiting for that.
    from launch.stage import run_stage

    return run_stage(config, run, overrides)


if __name__ == "__main__":
    train()
