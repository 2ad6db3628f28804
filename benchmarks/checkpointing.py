"""What checkpoints cost the training of a model of GPT-2's size: none, written at once, written in the background.

    python -m benchmarks.checkpointing --steps 3 --work /tmp/checkpointing

One checkpoint every `--every` steps, rounds of the three in turn, so that all meet the same machine. `waited` is how
long the loop stands still for one; in the background, the steps beside the writing may be slower too, which the mean
time of a step shows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import lightning as L
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from callbacks.checkpoint import Checkpoint
from lightning_modules.data import StageData
from lightning_modules.sft import SFTModule
from rlhf.config import LoopConfig, SFTConfig, TrainConfig
from rlhf.data.rows import Row
from rlhf.models.language import LanguageModel, count_parameters
from rlhf.quiet import quiet_libraries


class Timed(Checkpoint):
    """Saves every so many steps and not at the end; knows how long each save held the loop up, and each step took."""

    def __init__(self, directory: Path, config: LoopConfig, every: int) -> None:
        super().__init__(directory, config)
        self.every = every
        self.waited: list[float] = []
        self.ended: list[float] = []

    def due(self, module: Any) -> bool:
        return self.every > 0 and module.step % self.every == 0

    def save(self, trainer: L.Trainer, module: Any) -> None:
        started = time.perf_counter()
        super().save(trainer, module)
        self.waited.append(time.perf_counter() - started)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        self.ended.append(time.perf_counter())


def measure(mode: str, args: argparse.Namespace, model: LanguageModel) -> tuple[list[float], list[float]]:
    """Seconds of each step but the first, saves included, and those that the loop waited for each save."""
    shutil.rmtree(args.work, ignore_errors=True)
    config = TrainConfig(algo=SFTConfig())
    loop = config.train
    loop.tokens_per_microbatch, loop.keep_checkpoints = args.tokens, 1
    loop.async_checkpoint = mode if mode != "none" else "never"
    module = SFTModule(config, args.steps * args.every + 1, model)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 50_000, (args.tokens // args.length, args.length), generator=draw).tolist()
    rows = [Row((row[0],), (tuple(row[1:]),), index=i) for i, row in enumerate(ids)]
    timed = Timed(args.work, loop, args.every if mode != "none" else 0)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        callbacks=[timed],
    )
    trainer.fit(module, datamodule=StageData(rows, [], lambda step: range(len(rows)), args.tokens))
    return [b - a for a, b in pairwise(timed.ended)], timed.waited


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="checkpoints in a round")
    parser.add_argument("--every", type=int, default=2, help="steps a checkpoint")
    parser.add_argument("--tokens", type=int, default=1024, help="a step")
    parser.add_argument("--length", type=int, default=256, help="tokens a row")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--work", type=Path, required=True, help="a folder of its own, which is emptied")
    args = parser.parse_args()
    quiet_libraries()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = LanguageModel(GPT2LMHeadModel(GPT2Config()))
    spans: dict[str, list[float]] = {"none": [], "never": [], "always": []}
    waits: dict[str, list[float]] = {mode: [] for mode in spans}
    for _ in range(args.rounds):
        for mode in spans:
            took, waited = measure(mode, args, model)
            spans[mode] += took
            waits[mode] += waited
    for mode, took in spans.items():
        facts: dict[str, Any] = {"async_checkpoint": mode, "seconds_a_step": round(mean(took), 2)}
        if waits[mode]:
            facts |= {"waited": round(median(waits[mode]), 2), "most": round(max(waits[mode]), 2)}
            facts["bytes"] = next((args.work / "checkpoints").glob("*.ckpt")).stat().st_size
        print(json.dumps(facts | {"parameters": count_parameters(model)}), flush=True)


if __name__ == "__main__":
    main()
