"""What a training run will need: memory of a device, arithmetic and time of a step, from a configuration alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from lightning_modules.updates.micro_batches import cut
from rlhf.capacity.flops import TRAIN, TRAIN_ADAPTER, forward, useful
from rlhf.capacity.footprint import QUANTISED, Layout, Line, Memory, Stage
from rlhf.capacity.meter import Log
from rlhf.capacity.trace import Sizes, Tracer
from rlhf.config import OnPolicyConfig, PlanConfig, reward_models
from rlhf.data.rows import Row
from verbs.plan.lengths import Planned, document, planned_rows
from verbs.plan.shapes import kept_copies, planned_module, shared_backbones
from verbs.train.build import prompt_limit

GB = 1e9
USUAL_GPU = 80.0
"""Gigabytes of an A100 or H100."""


@dataclass(frozen=True)
class Machine:
    """What the run is planned for.

    Attributes:
        kind: `cpu` or `gpu`; devices: of all nodes.
        memory: bytes of a device; source: why so many.
    """

    kind: str
    devices: int
    memory: float
    source: str


def machine_of(config: PlanConfig) -> Machine:
    """The planned machine. `auto` is a GPU where this machine has one, or where there are several devices."""
    strategy = config.strategy
    here = torch.cuda.device_count()
    several = strategy.devices != "auto" and int(strategy.devices) > 1
    kind = "gpu" if strategy.accelerator == "gpu" or (strategy.accelerator == "auto" and (here or several)) else "cpu"
    local = max(1, here if kind == "gpu" else 1) if strategy.devices == "auto" else int(strategy.devices)
    devices = 1 if strategy.layout == "single" else local * strategy.nodes
    if config.plan.memory is not None:
        return Machine(kind, devices, config.plan.memory * GB, "plan.memory")
    if kind == "cpu":
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Machine(kind, devices, ram / local, "this machine's" + (f", shared by {local}" if local > 1 else ""))
    if here:
        return Machine(kind, devices, float(torch.cuda.get_device_properties(0).total_memory), "this machine's")
    return Machine(kind, devices, USUAL_GPU * GB, "an A100's or H100's; plan.memory says otherwise")


@dataclass
class Capacity:
    """Everything that `plan.py` prints."""

    config: PlanConfig
    machine: Machine
    planned: Planned
    tracer: Tracer
    stage: Stage

    @property
    def limit(self) -> float:
        """Bytes of a device that the run may take."""
        return self.machine.memory * (1 - self.config.plan.reserve)

    @property
    def sizes(self) -> dict[str, Sizes]:
        """Sizes of every model."""
        return {**self.stage.trained, **self.stage.frozen}

    # -- memory ----------------------------------------------------------------------------------------------------

    def micros(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Micro-batches of an update on one device, from the rows of a step on all."""
        budget, world = self.config.train.tokens_per_microbatch, self.machine.devices
        if isinstance(self.config.algo, OnPolicyConfig):
            mine = [replace(row, responses=row.responses[: self.learnt(row)]) for row in rows[::world]]
            update = mine[: -(-len(mine) // self.config.algo.minibatches)]
            return [list(micro.rows) for micro in cut(update, budget)]
        return [list(micro.rows) for micro in cut(rows, budget, 0, world)]

    def learnt(self, row: Row) -> int:
        """How many of its responses are learnt."""
        return self.config.algo.learnt_of(len(row.responses))

    @cached_property
    def updates(self) -> list[list[list[Row]]]:
        """Micro-batches of an update of each step that is looked at."""
        return [self.micros(rows) for rows in self.planned.steps]

    @cached_property
    def heaviest(self) -> list[Row]:
        """The micro-batch with the most tokens."""
        return max((micro for update in self.updates for micro in update), key=tokens_of)

    @property
    def update_tokens(self) -> int:
        """Tokens of a device's share of an update, at most."""
        return max(sum(map(tokens_of, update)) for update in self.updates)

    @cached_property
    def accumulating(self) -> bool:
        """Whether there are updates of several micro-batches."""
        return bool(self.documents) or any(len(update) > 1 for update in self.updates)

    @property
    def documents(self) -> list[Row]:
        """An update's documents for PPO's pretraining loss (PPO-ptx), on all devices; none without it."""
        if not isinstance(self.config.algo, OnPolicyConfig) or self.config.algo.ptx_coef == 0:
            return []
        return [document(self.config.data.max_length)] * self.config.train.batch_size

    @cached_property
    def log(self) -> Log:
        return self.tracer.update(self.heaviest)

    @cached_property
    def phases(self) -> list[Memory]:
        """Memory in each phase of the run. Scoring and validation, without gradients, stay below an update."""
        found = [self.stage.update(self.log, accumulating=self.accumulating)]
        if self.documents:
            micro = cut(self.documents, self.config.train.tokens_per_microbatch)[0]
            log = self.tracer.update(micro.rows, only="policy")
            found.append(self.stage.update(log, accumulating=True, phase="documents"))
        sampling = self.sampling()
        return found if sampling is None else [*found, sampling]

    @property
    def peak(self) -> Memory:
        return max(self.phases, key=lambda memory: memory.total)

    @property
    def sampled(self) -> int:
        """Responses that a device draws: of an iteration of PPO, or of the prompts that an evaluation shows."""
        config = self.config
        if config.algo.on_policy:
            return max(1, config.train.batch_size // self.machine.devices)
        shown = config.callbacks.samples and config.algo.answers()
        return config.train.samples if shown else 0

    def sampling(self) -> Memory | None:
        """Memory of decoding, in process."""
        config, n = self.config, self.sampled
        if not n or config.rollout.engine != "torch":
            return None
        longest = max(len(row.prompt) for rows in self.planned.steps for row in rows)
        prompt = longest if config.algo.on_policy else max(1, min(longest, prompt_limit(config)))
        rows = min(config.rollout.max_rows, n)
        new = config.rollout.max_new_tokens
        return self.stage.sampling(
            "policy",
            rows,
            prompt + new - 1,
            new * -(-n // rows),
            cache_bytes=self.number,
            pack=self.machine.kind == "cpu",
        )

    @property
    def number(self) -> int:
        """Bytes of a number in arithmetic."""
        return 4 if self.config.strategy.precision == "fp32" else 2

    @cached_property
    def line(self) -> Line:
        """Memory of an update by the tokens of its micro-batch, where gradients of earlier ones are there."""
        rows = self.heaviest
        other = rows[: len(rows) // 2] if len(rows) > 1 else rows * 2
        small, large = sorted((rows, other), key=tokens_of)
        points = []
        for found in (small, large):
            log = self.log if found is rows else self.tracer.update(found)
            points.append((tokens_of(found), self.stage.update(log, accumulating=True).total))
        return Line.through(*points)

    @property
    def largest(self) -> float:
        """Tokens of the largest micro-batch that fits; below that of a single row where nothing does."""
        sampling = self.sampling()
        if sampling is not None and sampling.total > self.limit:
            return -1.0
        return self.line.tokens(self.limit)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    @property
    def step_tokens(self) -> float:
        """Tokens of a step on all devices, on average."""
        return sum(map(tokens_of, self.planned.steps)) / len(self.planned.steps)

    @cached_property
    def arithmetic(self) -> dict[str, float]:
        """Useful operations of a step on all devices, by part of the work, on average."""
        algo, sizes = self.config.algo, self.stage.trained
        main = sizes.get("policy") or sizes["scorer"]
        train = TRAIN if main.trainable == main.total else TRAIN_ADAPTER
        epochs, scorers = 1, 1
        if isinstance(algo, OnPolicyConfig):
            epochs = algo.epochs
            scorers = len(reward_models(algo.reward_model)) if self.config.reward.uses_model else 0
        total: dict[str, float] = {}
        for rows in self.planned.steps:
            for row in rows:
                lengths = [len(response) for response in row.responses]
                found = useful(
                    algo, main.shape, len(row.prompt), lengths, epochs=epochs, train=train, reward_models=scorers
                )
                for part, operations in found.items():
                    total[part] = total.get(part, 0.0) + operations / len(self.planned.steps)
        if self.documents:
            assert isinstance(algo, OnPolicyConfig)
            one = forward(main.shape, 1, [self.config.data.max_length - 1], logits=True)
            total["learning"] += algo.epochs * algo.minibatches * len(self.documents) * train * one
        return total

    @property
    def recomputed(self) -> float:
        """Operations of the forward passes that gradient checkpointing repeats."""
        if not self.config.strategy.gradient_checkpointing:
            return 0.0
        main = next(iter(self.stage.trained.values()))
        return self.arithmetic["learning"] / (TRAIN if main.trainable == main.total else TRAIN_ADAPTER)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of a step, by part; empty without `plan.tflops`. Preparation is not part of a step."""
        plan = self.config.plan
        if plan.tflops is None:
            return {}
        speed = plan.tflops * 1e12 * plan.utilisation * self.machine.devices
        found = {part: operations / speed for part, operations in self.arithmetic.items() if part != "preparation"}
        found["learning"] += self.recomputed / speed
        if "sampling" in found and plan.bandwidth is not None:
            found["sampling"] = max(found["sampling"], self.read_in_sampling / (plan.bandwidth * GB))
        return found

    @property
    def read_in_sampling(self) -> float:
        """Bytes that a device reads in a rollout: all weights for each token of its rows, and their keys and values."""
        rows = min(self.config.rollout.max_rows, self.sampled)
        some = self.planned.steps[0][0]
        new = len(some.responses[0])
        passes = new * -(-self.sampled // rows)
        policy = self.stage.trained["policy"]
        cache = policy.cache * rows * (len(some.prompt) + new / 2)
        return passes * self.number * (policy.total + cache)


def tokens_of(rows: Sequence[Row]) -> int:
    return sum(row.length for row in rows)


def capacity_of(config: PlanConfig) -> Capacity:
    """Plan a run.

    Raises:
        UserError: the model's sizes or the data can't be read.
    """
    machine, strategy = machine_of(config), config.strategy
    sharded = strategy.layout in ("fsdp", "zero2")
    sampled = config.algo if isinstance(config.algo, OnPolicyConfig) else None
    tracer = Tracer(
        lambda: planned_module(config).trained(),
        mixed=strategy.precision != "fp32" and not (sharded and strategy.precision == "bf16"),
        half=sharded and strategy.precision == "bf16",
        offload=strategy.activation_offload,
        temperature=config.rollout.temperature if sampled else 1.0,
        want_entropy=sampled is not None and sampled.entropy_coef != 0,
        full_kl=sampled is not None and sampled.kl_in == "loss" and sampled.kl_estimator == "full",
        frozen=lambda: planned_module(config).frozen(),
    )
    layout = Layout(
        strategy.layout,
        (strategy.shard_size or machine.devices) if sharded else 1,
        2 if tracer.half else 4,
        strategy.cpu_offload and machine.kind == "gpu",
    )
    vocabulary = next(iter(tracer.sizes.values())).shape.vocabulary
    stage = Stage(
        tracer.sizes,
        tracer.frozen_sizes,
        layout,
        vocabulary,
        shared_backbones(config),
        frozenset({"policy", "reference", "scorer"}),
        QUANTISED[config.model.quantize],
        frozenset(tracer.frozen_sizes if sampled is not None and sampled.frozen_dtype == "bf16" else ()),
        *kept_copies(config, on_host=machine.kind == "cpu"),
    )
    return Capacity(config, machine, planned_rows(config), tracer, stage)
