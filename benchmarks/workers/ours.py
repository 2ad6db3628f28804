"""Our side: a stage's own module, data and Trainer as `train.py` builds them, one step for every order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from benchmarks.workers.protocol import Link
from lightning_modules.ppo import PPOModule
from rlhf.config import TrainConfig, algorithms
from rlhf.data.rows import Row
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.rollout.sampling import Completion, Sampler
from rlhf.runs import Parent, Run
from tracking.metrics import Metrics
from verbs.allocator import keep_freed_memory
from verbs.train.build import StageRows, build_module
from verbs.train.trainer import build_trainer

CHECKED = {
    "sft": {"loss": "train/loss"},
    "reward": {"loss": "train/loss", "margin": "train/margin"},
    "dpo": {
        "loss": "train/loss",
        "margin": "train/margin",
        "chosen_logprob": "train/chosen_logprob",
        "rejected_logprob": "train/rejected_logprob",
    },
    "ppo": {"reward": "objective/total_reward", "policy_loss": "policy/loss", "value_loss": "value/loss"},
}
"""What both sides must agree on, and what we call it."""


class OneByOne(L.Callback):
    """Lets the Trainer pass only as often as it is told to; a step is all from one batch's end to the next."""

    def __init__(self, link: Any, stage: str) -> None:
        self.link, self.names = link, CHECKED[stage]
        algorithm = algorithms()[stage]
        self.prepares = algorithm().stores_reference()

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        if self.prepares:  # the reference pass, which the module makes right after this
            self.link.ready(prepares=True)

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if self.prepares:
            self.link.done()
        else:
            self.link.ready(prepares=False)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        metrics = outputs["metrics"]
        times = {name: value for name, value in metrics.items() if name.startswith("time/")}
        self.link.done(checks={name: metrics[ours] for name, ours in self.names.items()}, times=times)


class Replaying:
    """A sampler that answers what the order holds, where it holds responses: the peer's, to compare losses on them."""

    def __init__(self, sampler: Sampler, link: Any) -> None:
        self.sampler, self.link = sampler, link

    def sample(self, requests: Sequence[Any], *args: Any, **options: Any) -> list[Completion]:
        given = self.link.order.get("responses")
        if given is None:
            return self.sampler.sample(requests, *args, **options)
        return [Completion(i, 0, tuple(tokens), (), finished) for i, (tokens, finished) in enumerate(given)]


def configuration(task: dict[str, Any]) -> TrainConfig:
    """A constant learning rate, so that both sides make the same updates; everything else is the lab's default."""
    stage, options = task["stage"], task["options"]
    config = TrainConfig(algo=algorithms()[stage]())
    config.algo.lr, config.algo.lr_schedule, config.algo.warmup_steps = options["lr"], "constant", 0
    for name in ("critic", "epochs", "max_grad_norm"):
        if name in options:
            setattr(config.algo, name, options[name])
    config.strategy.accelerator, config.strategy.threads = task.get("accelerator", "cpu"), task["threads"]
    config.strategy.precision = task.get("precision", "fp32")
    config.logger.wandb = "off"
    config.data.max_length = options["max_length"]
    config.rollout.max_new_tokens = options["new_tokens"]
    config.train.max_steps, config.train.batch_size = task["steps"], task["batch"]
    config.train.tokens_per_microbatch = options["tokens_per_microbatch"]
    return config


def rows_of(task: dict[str, Any]) -> list[Row]:
    pairs = ((0, 1),) if task["stage"] in ("reward", "dpo") else ()
    return [
        Row(tuple(example["prompt"]), tuple(map(tuple, example["responses"])), pairs, index=number)
        for number, example in enumerate(task["examples"])
    ]


def main() -> None:
    link = Link()
    if link.task["keep_freed_memory"]:
        keep_freed_memory()
    run(link)


def run(link: Any) -> None:
    """Train on `link.task`, asking `link` before and after every step.

    Args:
        link: a `Link`, or what answers like one.
    """
    task = link.task
    config = configuration(task)
    parents = {
        key: Parent("folder", Path(task[folder]))
        for key, folder in (("model.init", "model"), ("algo.reward_model", "reward_model"))
        if task.get(folder)
    }
    place = Run(Path(task["scratch"]), "benchmark", parents=parents)
    template = template_for(load_tokenizer("auto", task["model"]))
    module, data = build_module(config, place, template, StageRows(rows_of(task), [], [], []))
    size = task["batch"]
    data.batches = lambda step: range(step * size, (step + 1) * size)  # the peer's order, instead of a shuffled one
    if isinstance(module, PPOModule):
        module.sampler = Replaying(module.sampler, link)
    trainer = build_trainer(config, place, [Metrics(config.train.log_every), OneByOne(link, task["stage"])])
    trainer.fit(module, datamodule=data)


if __name__ == "__main__":
    main()
