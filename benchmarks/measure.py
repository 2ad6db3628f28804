"""One comparison: both sides kept alive, step by step in turn, on the same examples."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.agreement import disagreements
from benchmarks.peers import DEFAULT_MICRO_BATCH, Peer, Setting
from benchmarks.processes import ROOT, Worker, WorkerError
from benchmarks.summary import Comparison, Side, Useful
from rlhf.capacity.flops import Shape, useful
from rlhf.config import PPOConfig, algorithms

WARM_UP = 1
"""First steps set allocators and kernels up; they are not timed, but their losses are compared."""
COMPARED = 3
"""Steps whose losses are compared: before the first update, and after one and two."""


class Disagreement(Exception):
    """The two sides don't compute the same loss, so that their times can't be compared."""


@dataclass
class Bench:
    """What all comparisons of a run share.

    Attributes:
        task: from `benchmarks.prepare`: folders, shape, examples for `WARM_UP + blocks` steps.
        options: settings of both sides: `lr`, `max_length`, `new_tokens`, …
        scratch: a folder for what the trainers write, and for the workers' logs.
        say: told what is going on.
        looser: factor of the tolerances within which both sides' losses agree; they are for fp32.
    """

    stage: str
    task: dict[str, Any]
    options: dict[str, Any]
    batch: int
    blocks: int
    threads: int
    scratch: Path
    keep_freed_memory: bool = True
    peak_size: int = 4096
    say: Callable[[str], None] = field(default=print)
    looser: float = 1.0

    def worker(
        self,
        python: str,
        module: str,
        name: str,
        steps: int,
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Worker:
        """A worker for the first `steps` steps; environment variables and `options` are its own."""
        folder = self.scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        task = self.task | {
            "stage": self.stage,
            "batch": self.batch,
            "steps": steps,
            "examples": self.task["examples"][: steps * self.batch],
            "options": self.options | options,
            "scratch": str(folder),
            "keep_freed_memory": self.keep_freed_memory,
        }
        return Worker(python, module, task, self.threads, folder / "log", variables)

    def peak(self) -> float:
        """Operations a second of the best of a few matrix products."""
        task = {"size": self.peak_size}
        self.scratch.mkdir(parents=True, exist_ok=True)
        with Worker(sys.executable, "benchmarks.workers.machine", task, self.threads, self.scratch / "machine") as w:
            return max(w.facts["flops"] / w.go()["seconds"] for _ in range(5))


def prepared(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`benchmarks.prepare` in a process of its own: this one must leave the memory to the workers."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare"],
        input=json.dumps(request | {"folder": str(folder)}),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        raise WorkerError(f"benchmarks.prepare ended with {done.returncode}")
    task: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return task


def measure(bench: Bench, peer: Peer | None = None, name: str = "", python: str = "") -> Comparison:
    """Ours against a peer's setting, or alone.

    Raises:
        Disagreement: the two compute different losses.
        WorkerError: one of them failed.
    """
    steps = WARM_UP + bench.blocks
    micro_batch = best_micro_batch(bench, peer, peer.settings[name], python) if peer else 0
    peak = bench.peak()
    with ExitStack() as stack:
        workers = {"ours": stack.enter_context(bench.worker(sys.executable, "benchmarks.workers.ours", "ours", steps))}
        if peer:
            own: dict[str, Any] = {"setting": peer.settings[name].arguments, "micro_batch": micro_batch}
            workers["peer"] = stack.enter_context(bench.worker(python, peer.module, f"peer-{name}", steps, **own))
        shares = {side: preparation(worker, steps) for side, worker in workers.items()}
        answers = []
        for number in range(steps):
            answers.append(one_block(bench, workers, number))
            compare_losses(bench, answers)  # at once: the rest may take an hour
    peak = max(peak, bench.peak())
    sides = {
        side: side_of(shares[side], [block[side] for block in answers], worker.facts["versions"])
        for side, worker in workers.items()
    }
    timed = bench.task["examples"][WARM_UP * bench.batch : steps * bench.batch]
    return Comparison(
        bench.stage,
        name,
        micro_batch,
        bench.batch,
        sides["ours"],
        sides.get("peer"),
        useful_arithmetic(bench, timed),
        peak,
    )


def preparation(worker: Worker, steps: int) -> float:
    """Let it prepare, where it does; seconds that fall to each step."""
    return float(worker.go()["seconds"]) / steps if worker.facts["prepares"] else 0.0


def one_block(bench: Bench, workers: dict[str, Worker], number: int) -> dict[str, Any]:
    """A step of each side; who goes first alternates. Responses that a peer draws in the first are ours too."""
    order = sorted(workers, reverse=number % 2 == 0)  # the peer first at the start
    answers: dict[str, Any] = {}
    for side in order:
        drawn = answers.get("peer", {}).get("responses") if number == 0 else None
        answers[side] = workers[side].go(**({"responses": drawn} if side == "ours" and drawn else {}))
    bench.say(f"step {number}: " + ", ".join(f"{side} {answers[side]['seconds']:.2f} s" for side in sorted(answers)))
    return answers


def compare_losses(bench: Bench, answers: list[dict[str, Any]]) -> None:
    """Raises Disagreement. Where each side samples for itself, only the first step is the same to both."""
    compared = answers[: 1 if bench.stage == "ppo" else COMPARED]
    if "peer" not in compared[0]:
        return
    ours, peer = ([block[side]["checks"] for block in compared] for side in ("ours", "peer"))
    if bench.stage == "ppo":  # TRL whitens advantages by n − 1, ours by n
        n = sum(len(tokens) for tokens, _ in compared[0]["peer"]["responses"])
        ours = [checks | {"policy_loss": checks["policy_loss"] * math.sqrt((n - 1) / n)} for checks in ours]
    if bench.options["critic"] == "shared":  # another critic has other values, and so other advantages
        ours = [{"reward": checks["reward"]} for checks in ours]
    if found := disagreements(ours, peer, bench.looser):
        raise Disagreement("\n".join(found))


def best_micro_batch(bench: Bench, peer: Peer, setting: Setting, python: str) -> int:
    """The largest power of two up to the default, or, where the setting is tuned, the fastest of those below too."""
    first = min(DEFAULT_MICRO_BATCH, bench.batch)
    if not setting.tuned:
        return first
    times: dict[int, float] = {}
    for size in (first, first // 2, first // 4, first // 8):
        if size == 0 or bench.batch % size:
            continue
        own: dict[str, Any] = {"setting": setting.arguments, "micro_batch": size}
        try:
            with bench.worker(python, peer.module, f"tune-{size}", WARM_UP + 1, **own) as worker:
                share = preparation(worker, WARM_UP + 1)
                times[size] = share + [worker.go()["seconds"] for _ in range(WARM_UP + 1)][-1]
        except WorkerError as error:  # out of memory, most likely: a smaller one may do
            bench.say(f"micro-batch {size}: {error}")
        else:
            bench.say(f"micro-batch {size}: {times[size]:.2f} s a step")
    if not times:
        raise WorkerError("the peer failed with every micro-batch")
    return min(times, key=lambda size: times[size])


def side_of(share: float, answers: list[dict[str, Any]], versions: dict[str, str]) -> Side:
    timed = answers[WARM_UP:]
    facts = [{"checks": answer["checks"], "times": answer.get("times", {})} for answer in answers]
    return Side(share, [a["seconds"] for a in timed], max(a["peak_memory_bytes"] for a in answers), versions, facts)


def useful_arithmetic(bench: Bench, examples: list[dict[str, Any]]) -> Useful:
    """Of a step, and of its share of the preparation, on average over the examples."""
    shape, options = Shape(**bench.task["shape"]), bench.options
    algo = algorithms()[bench.stage]()
    if isinstance(algo, PPOConfig):
        algo.critic = options["critic"]
    ppo = {"epochs": options["epochs"]} if algo.on_policy else {}
    counts = []
    for example in examples:
        drawn = [options["new_tokens"]] if algo.on_policy else map(len, example["responses"])
        counts.append(useful(algo, shape, len(example["prompt"]), list(drawn), **ppo))
    preparation = mean(count.pop("preparation", 0.0) for count in counts)
    return Useful(bench.batch * preparation, bench.batch * mean(sum(count.values()) for count in counts))
