"""The planner's memory beside what runs took: `python -m benchmarks.footprint` prints the table of docs/planner.md."""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.prepare import prepare
from benchmarks.processes import Worker
from launch.composition.compose import compose_point, hydra_session, to_config
from rlhf.config import PlanConfig, TrainConfig, validate
from rlhf.quiet import quiet_libraries
from verbs.plan.capacity import Capacity, capacity_of
from verbs.plan.lengths import assumed_lengths
from verbs.plan.printed import size

MODULE = "benchmarks.workers.footprint"
STEPS = 3
"""From the second on, moments and activations are there together."""

CONFIGURATIONS: dict[str, list[str]] = {
    "sft, tiny": ["algo=sft", "model=tiny", "train.batch_size=42", "plan.prompt_tokens=64", "plan.response_tokens=32"],
    "sft, GPT-2 124M": [
        *("algo=sft", "model=gpt2", "data.max_length=256", "train.batch_size=8", "train.tokens_per_microbatch=1024"),
        *("plan.prompt_tokens=128", "plan.response_tokens=128"),
    ],
    "reward, GPT-2 124M, checkpointing": [
        *("algo=reward", "model=gpt2", "data.max_length=256", "train.batch_size=8", "train.tokens_per_microbatch=2048"),
        *("strategy.gradient_checkpointing=true", "plan.prompt_tokens=128", "plan.response_tokens=64"),
    ],
    "dpo, 4 × 256": [
        *("algo=dpo", "model=gpt2", "model.architecture.n_layer=4", "model.architecture.n_embd=256"),
        *("model.architecture.n_head=4", "data.max_length=256", "train.batch_size=16"),
        *("train.tokens_per_microbatch=2048", "plan.prompt_tokens=128", "plan.response_tokens=64"),
    ],
    "ppo, 4 × 256": [
        *("algo=ppo", "model=gpt2", "model.architecture.n_layer=4", "model.architecture.n_embd=256"),
        *("model.architecture.n_head=4", "data.max_length=128", "rollout.max_new_tokens=48", "train.batch_size=32"),
        *("train.tokens_per_microbatch=2048", "plan.prompt_tokens=80"),
    ],
    **{
        f"{algo}, GPT-2 124M": [
            *(f"algo={algo}", "model=gpt2", "data.max_length=128", "rollout.max_new_tokens=32", "train.batch_size=16"),
            *("algo.samples_per_prompt=4", "algo.epochs=1", "train.tokens_per_microbatch=512", "plan.prompt_tokens=64"),
        ]
        for algo in ("ppo", "grpo")
    },
    "ppo, 4 × 256, LoRA": [
        *("algo=ppo", "model=gpt2", "model.architecture.n_layer=4", "model.architecture.n_embd=256"),
        *("model.architecture.n_head=4", "data.max_length=128", "rollout.max_new_tokens=48", "train.batch_size=32"),
        *("train.tokens_per_microbatch=2048", "plan.prompt_tokens=80", "model.adapter=lora"),
    ],
    "sft, 8 × 512, bf16-mixed": [
        *("algo=sft", "model=gpt2", "model.architecture.n_layer=8", "model.architecture.n_embd=512"),
        *("model.architecture.n_head=8", "data.max_length=256", "train.batch_size=16", "strategy.precision=bf16-mixed"),
        *("train.tokens_per_microbatch=2048", "plan.prompt_tokens=128", "plan.response_tokens=64"),
    ],
    "ppo, tiny, shared critic": [
        *("algo=ppo", "model=tiny", "algo.critic=shared", "train.batch_size=128", "plan.prompt_tokens=80"),
        "train.tokens_per_microbatch=8192",
    ],
    **{
        f"sft, GPT-2 124M, {layout} on 2": [
            *("algo=sft", "model=gpt2", "data.max_length=256", "train.batch_size=8", "strategy.devices=2"),
            *("train.tokens_per_microbatch=1024", "plan.prompt_tokens=128", "plan.response_tokens=128"),
            *(f"strategy={layout}", "strategy.accelerator=cpu"),
        ]
        for layout in ("ddp", "fsdp", "zero2")
    },
}
"""What is compared, by name: overrides of `plan.py`, and without those of `plan` of `train.py`."""


def planned(overrides: list[str]) -> Capacity:
    """What `plan.py` says."""
    quiet_libraries()
    with hydra_session("plan"):
        config = to_config(compose_point(overrides, "plan"))
    validate(config)
    assert isinstance(config, PlanConfig)
    return capacity_of(config)


def task_of(
    overrides: list[str], config: TrainConfig, lengths: tuple[int, int], folder: Path, fixed: Sequence[str] = ()
) -> dict[str, Any]:
    """What `benchmarks.workers.footprint` is told: a few steps of a configuration of `plan.py`, without those keys.

    Args:
        lengths: of prompt and response.
        fixed: further overrides.
    """
    stage, n = config.algo.name, {"comparisons": 2, "prompts": 0}.get(config.algo.learns_from, 1)
    request = {
        "stage": stage,
        "model": config.model.name,
        "sizes": {name: value for name, value in config.model.architecture.items() if name != "model_type"},
        "seed": 1,
        "count": STEPS * config.train.batch_size,
        "data": None,
        "lengths": [lengths[0], *[lengths[1]] * n],
    }
    own = [item for item in overrides if not item.startswith("plan.")]
    steps = ["logger.wandb=off", f"train.max_steps={STEPS}", "train.epochs=null"]
    return prepare(request, folder / "shared") | {
        "stage": stage,
        "overrides": [*own, *steps, *fixed],
        "scratch": str(folder),
    }


def measured(
    overrides: list[str], config: TrainConfig, lengths: tuple[int, int], folder: Path, threads: int, keep: bool
) -> int:
    """Highest resident memory of a process that trains, in bytes above what was there before; of several, the highest.

    Args:
        lengths: of prompt and response.
    """
    fixed = [f"strategy.threads={threads}"]
    task = task_of(overrides, config, lengths, folder, fixed) | {"keep_freed_memory": keep}
    ranks = config.strategy.devices if config.strategy.layout != "single" else 1
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(sys.executable, MODULE, task, threads, folder / f"log{rank}", environment(rank, int(ranks)))
            )
            for rank in range(int(ranks))
        ]
        with ThreadPoolExecutor(len(workers)) as pool:  # each answers only if all of them go
            answers = list(pool.map(lambda worker: worker.go(), workers))
        return max(
            int(answer["peak_memory_bytes"] - worker.facts["baseline"])
            for worker, answer in zip(workers, answers, strict=True)
        )


@cache
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(rank: int, ranks: int) -> dict[str, str]:
    """What torchrun tells its processes."""
    if ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "TORCHELASTIC_RUN_ID": "footprint",
    }


def compare(overrides: list[str], folder: Path, threads: int = 1, keep: bool = False) -> tuple[float, int]:
    """Bytes that are planned, and that were measured."""
    # No held-out prompts are sampled here.
    capacity = planned([*overrides, "train.samples=0"])
    lengths = assumed_lengths(capacity.config)
    return capacity.peak.total, measured(overrides, capacity.config, lengths, folder, threads, keep)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all where left out: {'; '.join(CONFIGURATIONS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep-freed-memory", action="store_true", help="as train.py does on CPU, for speed: gaps are measured too"
    )
    args = parser.parse_args(argv)
    print("| configuration | planned | measured | planned / measured |\n| --- | --- | --- | --- |")
    for name in args.names or CONFIGURATIONS:
        with tempfile.TemporaryDirectory() as folder:
            plan, real = compare(CONFIGURATIONS[name], Path(folder), args.threads, args.keep_freed_memory)
        print(f"| {name} | {size(plan)} | {size(real)} | {plan / real:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
