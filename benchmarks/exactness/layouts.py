"""Do layouts agree? Stages × strategies × precisions, run on two CPU processes.

    python -m benchmarks.exactness.layouts

Each cell is `train.py` on the tiny model, for a few steps, beside the same run in a single process: the losses of all
steps are compared, and the exported weights. Starting processes takes longer than what they compute, so one process
serves all single runs, and one pair all others.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.config import algorithms

ROOT = Path(__file__).parents[2]
STAGES = tuple(algorithms())
LAYOUTS = ("ddp", "fsdp", "zero2")
PRECISIONS = ("fp32", "bf16-mixed", "bf16")
QUICK = (
    "data.limit=300 logger=csv "
    "callbacks.progress=false train.batch_size=8 train.log_every=1 train.val_every=4 train.checkpoint_every=2 "
    "train.max_steps=6 train.val_prompts=6 train.samples=2 rollout.max_new_tokens=12 train.tokens_per_microbatch=256 "
    "strategy.accelerator=cpu strategy.threads=1"
)
"""Several micro-batches a step, some ranks with one fewer than others, validations and checkpoints on the way."""
SMALL = (
    "model.path=null model.tokenizer=tiny data.max_length=128 model.architecture.hidden_size=32 "
    "model.architecture.intermediate_size=54 model.architecture.num_hidden_layers=2 "
    "model.architecture.num_attention_heads=4 model.architecture.num_key_value_heads=2 "
    "model.architecture.max_position_embeddings=128"
)
PADDED = "model=hf model.path=null model.tokenizer=tiny data.max_length=128 +model.architecture="
BACKBONES = {
    "gpt2": "model.architecture.n_embd=32 model.architecture.n_layer=2",
    # Tied embeddings, no biases.
    "llama": f"model=llama-3.2-1b {SMALL} model.architecture.head_dim=8",
    # Biases on queries, keys and values, an output layer of its own.
    "qwen2": f"model=qwen2.5-0.5b {SMALL} ~model.architecture.vocab_size model.architecture.tie_word_embeddings=false",
    # One response a line: convolutions beside attention, and Mamba, whose blocks hold blocks.
    "lfm2": f"{PADDED}{{model_type:lfm2,hidden_size:32,intermediate_size:54,num_hidden_layers:2,num_attention_heads:4,"
    "num_key_value_heads:2,max_position_embeddings:128,layer_types:[conv,full_attention],"
    "block_auto_adjust_ff_dim:false}",
    "mamba": f"{PADDED}{{model_type:mamba,hidden_size:32,num_hidden_layers:2,state_size:4,time_step_rank:4}}",
}
"""Overrides that make random backbones of two layers; tensor parallelism splits llama and qwen2."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        stage: of `STAGES`.
        layout: `single`, or of `LAYOUTS`.
        extra: further overrides, which the single run beside it gets too.
        own: overrides of this run alone, such as the number of its devices.
        backbone: of `BACKBONES`.
    """

    stage: str
    layout: str = "single"
    precision: str = "fp32"
    extra: str = ""
    own: str = ""
    backbone: str = "gpt2"

    @property
    def name(self) -> str:
        # Names are part of an override, whose grammar has its own use of brackets and commas.
        options = re.sub(r"[^\w. -]+", "-", f"{self.extra} {self.own}").split()
        backbone = [] if self.backbone == "gpt2" else [self.backbone]
        return "-".join([self.stage, self.layout, self.precision, *backbone, *options])

    @property
    def alone(self) -> Cell:
        """The same in a single process."""
        return Cell(self.stage, "single", self.precision, self.extra, backbone=self.backbone)

    @property
    def reward_model(self) -> Cell:
        """What a PPO cell is scored by: a run of the first process."""
        return Cell("reward", backbone=self.backbone)

    def line(self, folder: Path, devices: int) -> str:
        """The overrides of `train.py`."""
        facts = algorithms()[self.stage]
        parents = f" algo.reward_model={folder / self.reward_model.name}" if facts.needs_reward else ""
        # Two prompts in an iteration of 8 episodes, for two minibatches and two processes.
        parents += " algo.samples_per_prompt=4" if facts.on_policy else ""
        spread = "" if self.layout == "single" else f" strategy={self.layout} strategy.devices={devices}"
        return (
            f"algo={self.stage} model.init=random {BACKBONES[self.backbone]} {QUICK}{parents}{spread} "
            f"strategy.precision={self.precision} {self.extra} {self.own} hydra.run.dir={folder / self.name}"
        )


@dataclass(frozen=True)
class Deviation:
    """The largest absolute difference to the single process, over all steps of its metrics, and over its weights."""

    loss: float
    weights: float


def run(cells: Sequence[Cell], folder: Path, devices: int = 2, timeout: float = 900) -> dict[Cell, Deviation]:
    """Run the cells on `devices` processes, and those beside them on one.

    Raises:
        RuntimeError: one of the runs failed.
    """
    rewards = [cell.reward_model for cell in cells if algorithms()[cell.stage].needs_reward]
    alone = list(dict.fromkeys([*rewards, *(cell.alone for cell in cells)]))
    start([cell.line(folder, 1) for cell in alone if not (folder / cell.name).exists()], folder, 1, timeout)
    start([cell.line(folder, devices) for cell in cells], folder, devices, timeout)
    return {cell: deviation(folder / cell.name, folder / cell.alone.name) for cell in cells}


def start(lines: Sequence[str], folder: Path, devices: int, timeout: float) -> None:
    """Run `train.py` with each line of overrides, in one group of processes."""
    file = folder / f"lines-{devices}.json"
    file.write_text(json.dumps(list(lines)), encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"] if devices > 1 else []
    command = [sys.executable, *torchrun, str(ROOT / "benchmarks" / "workers" / "cells.py"), str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"a run on {devices} processes failed:\n{done.stdout[-4000:]}")


def deviation(run: Path, alone: Path) -> Deviation:
    """Compare two finished runs."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run, alone))
    if set(ours) != set(theirs):
        raise RuntimeError(f"{run}: the export has other tensors than {alone}: {set(ours) ^ set(theirs)}")
    weights = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    pairs = zip(losses(run), losses(alone), strict=True)
    return Deviation(max(abs(a - b) for a, b in pairs), weights)


def losses(run: Path) -> list[float]:
    """Every training and validation loss that a run wrote, in the order of its steps."""
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = [
        row[name] for row in rows for name in ("train/loss", "val/loss", "policy/loss", "value/loss") if row.get(name)
    ]
    return [float(value) for value in found]


def table(found: dict[Cell, Deviation]) -> str:
    """Markdown: a row a stage and precision, a column a layout."""
    layouts = list(dict.fromkeys(cell.layout for cell in found))
    lines = [
        "| stage | precision | " + " | ".join(f"{layout}: losses, weights" for layout in layouts) + " |",
        "| --- | --- |" + " --- |" * len(layouts),
    ]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell, d in found.items():
        backbone = "" if cell.backbone == "gpt2" else cell.backbone
        stage = " ".join(filter(None, [cell.stage, backbone, cell.extra, cell.own]))
        rows.setdefault((stage, cell.precision), {})[cell.layout] = f"{d.loss:.0e}, {d.weights:.0e}"
    for (stage, precision), row in rows.items():
        lines.append(f"| {stage} | {precision} | " + " | ".join(row.get(layout, "–") for layout in layouts) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(prog="python -m benchmarks.exactness.layouts", description=__doc__)
    found.add_argument("--stage", action="append", choices=STAGES, help="all where left out")
    found.add_argument("--layout", action="append", choices=LAYOUTS, help="all where left out")
    found.add_argument("--precision", action="append", choices=PRECISIONS, help="all where left out")
    found.add_argument("--backbone", default="gpt2", choices=BACKBONES, help="gpt2 where left out")
    found.add_argument("--tensor-parallel", type=int, default=1, help="processes that split layers, of two; 1: none")
    args = found.parse_args(argv)
    own = f"strategy.tensor_parallel={args.tensor_parallel}" if args.tensor_parallel > 1 else ""
    cells = [
        Cell(stage, layout, precision, own=own, backbone=args.backbone)
        for stage in args.stage or STAGES
        for precision in args.precision or PRECISIONS
        for layout in args.layout or LAYOUTS
    ]
    with tempfile.TemporaryDirectory(prefix="layouts-") as folder:
        print(table(run(cells, Path(folder), timeout=3600)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
