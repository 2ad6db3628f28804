"""SIGKILL at random moments, then the same command with `resume=true`: does every stage end with the same bits?

    python -m benchmarks.exactness.kill_and_resume --kills 20 --stages pretrain sft reward dpo ppo --work /tmp/kills

For each stage one run is left alone. Others are killed again and again, each time after at least one new checkpoint: a
random time later, and every fourth time while a checkpoint is being written. When they have finished, their weights and
`metrics.csv` are compared with those of the run that was left alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rlhf.runs import Summary
from rlhf.runs.checkpoints import checkpoints

STAGES = ("pretrain", "sft", "reward", "dpo", "ppo")
COMMON = [
    "model.architecture.n_embd=64",
    "model.architecture.n_layer=2",
    "data.limit=400",
    "logger=csv",
    "callbacks.progress=false",
    "train.batch_size=16",
    "train.log_every=1",
    "train.val_every=6",
    "train.checkpoint_every=2",
    "train.val_prompts=8",
    "train.samples=2",
    "rollout.max_new_tokens=16",
    "strategy.threads=1",
]
"""A model and data small enough for a run of seconds; checkpoints, validations and samples at different steps."""
STEPS = 30
CLOCKED = ("seconds", "per_second", "time/")
PATIENCE = 300.0
"""Seconds that a run may take to reach its next checkpoint."""


@dataclass
class Outcome:
    """What became of the killed runs of one stage."""

    stage: str
    kills: int = 0
    while_writing: int = 0
    runs: int = 0
    resumed: int = 0
    same_weights: int = 0
    same_metrics: int = 0

    @property
    def whole(self) -> bool:
        """Whether every run resumed each time and ended as the one that was left alone."""
        return self.same_weights == self.same_metrics == self.runs and self.resumed == self.kills


def command(stage: str, work: Path) -> list[str]:
    """Overrides of a stage's run; `sft` and `reward` of `work` are its parents."""
    parents: dict[str, list[str]] = {
        "pretrain": [],
        "sft": ["model.init=random"],
        "ppo": [f"model.init={work}/sft", f"algo.reward_model={work}/reward", "algo.kl_controller=adaptive"],
    }
    return [f"algo={stage}", f"train.max_steps={STEPS}", *COMMON, *parents.get(stage, [f"model.init={work}/sft"])]


def _train(overrides: list[str], said: Path) -> None:
    """In a process of its own: as `python train.py OVERRIDES`."""
    with said.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    from train import train

    sys.argv = ["train.py", *overrides]
    code = train.main(overrides)
    sys.stdout.flush()
    sys.exit(code)


class Trainer:
    """Starts training processes.

    Args:
        context: how; where left out, from a server that has the libraries loaded already.
    """

    def __init__(self, work: Path, context: BaseContext | None = None) -> None:
        self.said = work / "output.log"
        if context is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["verbs.train.stage"])
        self.context: Any = context

    def start(self, overrides: list[str]) -> BaseProcess:
        process: BaseProcess = self.context.Process(target=_train, args=(overrides, self.said))
        process.start()
        return process

    def finish(self, overrides: list[str]) -> None:
        """Run to the end.

        Raises:
            RuntimeError: it did not end well.
        """
        process = self.start(overrides)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{' '.join(overrides)}: exit code {process.exitcode}; see {self.said}")


def newest(run: Path) -> str:
    found = checkpoints(run)
    return found[-1].name if found else ""


def kill_once(trainer: Trainer, overrides: list[str], run: Path, delay: float, aim: bool) -> tuple[bool, bool]:
    """Start or continue a run and kill it; returns whether it was still running, and whether it was writing.

    Args:
        delay: seconds after the first new checkpoint.
        aim: kill at once when the next checkpoint is half written.
    """
    before = newest(run)
    process = trainer.start(overrides)
    deadline = time.monotonic() + PATIENCE
    while newest(run) in ("", before) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    if aim:
        while not list((run / "checkpoints").glob("*.part")) and process.is_alive():
            pass
    else:
        time.sleep(delay)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    writing = bool(list((run / "checkpoints").glob("*.part")))
    return alive and process.exitcode == -signal.SIGKILL, writing


def rows(run: Path) -> list[dict[str, str]]:
    """`metrics.csv` without what a clock says."""
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if v and not any(c in k for c in CLOCKED)} for row in found]


def torture(stage: str, trainer: Trainer, work: Path, kills: int, seed: int = 0) -> Outcome:
    """Kill runs of a stage until `kills` processes have died; each run is then finished and compared."""
    draw = random.Random(f"{stage}{seed}")
    outcome = Outcome(stage)
    alone = work / stage
    whole = Summary.read(alone)
    clock = [float(row["train/seconds"]) for row in _raw(alone) if row.get("train/seconds")]
    span = 4 * sum(clock) / len(clock)  # on average one checkpoint further
    while outcome.kills < kills:
        run = work / f"{stage}-{outcome.runs}"
        mode = ("never", "always")[outcome.runs % 2]
        overrides = [*command(stage, work), f"hydra.run.dir={run}", f"train.async_checkpoint={mode}", "resume=true"]
        outcome.runs += 1
        died = True
        while died and outcome.kills < kills:
            again = run.exists()
            died, writing = kill_once(trainer, overrides, run, draw.uniform(0, span), outcome.kills % 4 == 3)
            outcome.kills += died
            outcome.while_writing += writing
            outcome.resumed += again and bool(Summary.read(run).resumed_from)
        if died:
            trainer.finish(overrides)
            outcome.resumed += bool(Summary.read(run).resumed_from)
        summary = Summary.read(run)
        if summary.status != "finished":
            raise RuntimeError(f"{run} ended {summary.status}: {summary.error}; see {trainer.said}")
        outcome.same_weights += summary.model_sha256 == whole.model_sha256
        outcome.same_metrics += rows(run) == rows(alone)
    return outcome


def _raw(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20, help="for each stage")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    work = args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(work)
    for stage in STAGES:  # parents first
        if stage in args.stages or stage in ("sft", "reward"):
            trainer.finish([*command(stage, work), f"hydra.run.dir={work / stage}"])
    outcomes = []
    for stage in args.stages:
        started = time.monotonic()
        outcomes.append(torture(stage, trainer, work, args.kills, args.seed))
        print(json.dumps(asdict(outcomes[-1]) | {"seconds": round(time.monotonic() - started)}), flush=True)
    return 0 if all(outcome.whole for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
