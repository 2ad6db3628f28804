"""The real program in a folder of its own, with stages small enough to run in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.app import Program
from rlhf.config import TrainConfig, algorithms
from rlhf.runs import Run

QUICK = (
    "model.architecture.n_embd=32 model.architecture.n_layer=2 data.limit=300 logger=csv callbacks.progress=false "
    "train.batch_size=8 train.log_every=1 train.val_every=4 train.checkpoint_every=2 train.max_steps=6 "
    "train.val_prompts=6 train.samples=2 rollout.max_new_tokens=12"
)
"""Overrides that make any stage a matter of seconds."""

Main = Callable[[str], int]


def starts(sft: str | Path, rm: str | Path) -> dict[str, str]:
    """By the name of every algorithm, the overrides that start it from a finished SFT run and a reward run."""
    return {
        name: " ".join(
            [
                f"model.init={sft}",
                *([f"algo.reward_model={rm}"] if cls.needs_reward else []),
                # Two prompts in an iteration of 8 episodes, for two minibatches.
                *(["algo.samples_per_prompt=4"] if cls.on_policy else []),
                # The default data have labels of whole answers alone.
                *(["data=worked_sums"] if cls.learns_from == "steps" else []),
            ]
        )
        for name, cls in algorithms().items()
    }


def train(config: TrainConfig, run: Run, overrides: list[str]) -> float | None:
    """Train one stage."""
    from verbs.train.stage import run_stage

    return run_stage(config, run, overrides)


@pytest.fixture
def main(program_folder: Path) -> Main:
    """`main("algo=dpo")` is `python train.py algo=dpo` with quick settings; returns the exit code."""
    return lambda line: Program("train", train).main([*QUICK.split(), *line.split()])
