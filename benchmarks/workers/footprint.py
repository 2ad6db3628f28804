"""A few steps of a stage as `train.py` builds it, and the highest memory that they needed above what was there before.

Before are the interpreter, the libraries, and what these load at their first use: a step of a model of one small layer.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from typing import Any

import lightning as L
import torch

from benchmarks.workers.ours import rows_of
from benchmarks.workers.protocol import Link, peak_memory
from launch.composition.compose import load
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.models.files.loading import load_policy
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Parent, Run
from tracking.metrics import Metrics
from verbs.allocator import keep_freed_memory
from verbs.train.build import StageRows, build_module
from verbs.train.trainer import build_trainer

M_MMAP_THRESHOLD = -3

SMALL = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 64}


def warm_up() -> None:
    """Load what is loaded at first use."""
    tokenizer = load_tokenizer("tiny")
    policy = load_policy(None, SMALL, tokenizer, seed=0)
    optimizer = torch.optim.AdamW(policy.parameters(), fused=True)
    for responses in (((1, 2),), ((1, 2), (3,))):
        stats: Any = policy(collate([Row((1, 2, 3), responses)]))
        (-stats.logprobs.sum()).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    TorchSampler(policy, tokenizer.eos_id).sample([Request(0, (1, 2))], Sampling(2), seed=0, iteration=0)


def forget_peak() -> int:
    """Resident bytes now; the kernel measures its highest from here on. Of Linux."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_memory()


def return_freed_memory() -> None:
    """Let glibc map every tensor separately, so that resident memory is what is needed, without gaps between blocks."""
    ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 2**16)


def stage_of(task: dict[str, Any], callbacks: list[L.Callback]) -> tuple[L.Trainer, Any, Any]:
    """Trainer, module and data of `task`, from `benchmarks.prepare`, as `train.py` builds them.

    Args:
        task: with `overrides` of train.py and `scratch`, a folder for what a run writes.
    """
    config = load(task["overrides"])
    parents = {
        key: Parent("folder", Path(task[folder]))
        for key, folder in (("model.init", "model"), ("algo.reward_model", "reward_model"))
        if task.get(folder)
    }
    run = Run(Path(task["scratch"]), "benchmark", parents=parents)
    rows = StageRows(rows_of(task), [], [], [])
    module, data = build_module(config, run, template_for(load_tokenizer("auto", task["model"])), rows)
    return build_trainer(config, run, [Metrics(config.train.log_every), *callbacks]), module, data


def main() -> None:
    link = Link()
    task = link.task
    keep_freed_memory() if task["keep_freed_memory"] else return_freed_memory()
    torch.set_num_threads(task["threads"])
    warm_up()
    link.ready(baseline=forget_peak())
    trainer, module, data = stage_of(task, [])
    trainer.fit(module, datamodule=data)
    link.done(steps=module.step)


if __name__ == "__main__":
    main()
