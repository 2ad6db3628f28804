"""TRL's SFT, reward and DPO trainers, unchanged, one optimiser step for every order.

Examples come as ids, so that both sides see the same ones; from the collator on everything is TRL's own. The optimiser
is set as ours is by default. What may differ is in the setting: micro-batch, gradient checkpointing, where the
reference is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks.workers.protocol import Link
from verbs.allocator import keep_freed_memory

CHECKED = {
    "sft": {},
    "reward": {"margin": "margin"},
    "dpo": {"margin": "rewards/margins", "chosen_logprob": "logps/chosen", "rejected_logprob": "logps/rejected"},
}
"""What both sides must agree on beside the loss, and what TRL calls it."""


def stepped(base: Any, link: Any, names: dict[str, str]) -> Any:
    """The trainer, which notes its losses, leaves ids as they are and waits before its reference pass."""

    class Stepped(base):
        def training_step(self, *args: Any, **options: Any) -> Any:
            loss = super().training_step(*args, **options)
            self.losses = [*getattr(self, "losses", []), loss.detach()]
            return loss

        def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *args: Any, **options: Any) -> Any:
            link.ready(prepares=True)
            found = super()._precompute_ref_logps(*args, **options)
            link.done()
            return found

        def checks(self) -> dict[str, float]:
            """The step's loss and the means of TRL's metrics over its micro-batches (all of one size)."""
            losses, self.losses = self.losses, []
            metrics = self._metrics["train"]
            means = {ours: sum(metrics[theirs][-len(losses) :]) / len(losses) for ours, theirs in names.items()}
            return {"loss": float(sum(losses)), **means}

    return Stepped


class OneByOne(TrainerCallback):
    """A step is all from one step's end to the next, as on our side: loading and collating count."""

    def __init__(self, link: Any, checks: Callable[[], dict[str, float]], waits: bool) -> None:
        self.link, self.checks, self.waits = link, checks, waits

    def on_train_begin(self, *args: Any, **options: Any) -> None:
        if self.waits:  # else it waited before its reference pass
            self.link.ready(prepares=False)

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.link.done(checks=self.checks())


def sft_row(example: dict[str, Any]) -> dict[str, Any]:
    (response,) = example["responses"]
    return {"input_ids": example["prompt"] + response, "labels": [-100] * len(example["prompt"]) + response}


def reward_row(example: dict[str, Any]) -> dict[str, Any]:
    chosen, rejected = example["responses"]
    return {"chosen_ids": example["prompt"] + chosen, "rejected_ids": example["prompt"] + rejected}


def dpo_row(example: dict[str, Any]) -> dict[str, Any]:
    chosen, rejected = example["responses"]
    return {"prompt_ids": example["prompt"], "chosen_ids": chosen, "rejected_ids": rejected}


STAGES: dict[str, tuple[Any, Any, Any]] = {
    "sft": (SFTTrainer, SFTConfig, sft_row),
    "reward": (RewardTrainer, RewardConfig, reward_row),
    "dpo": (DPOTrainer, DPOConfig, dpo_row),
}


def main() -> None:
    link = Link()
    if link.task["keep_freed_memory"]:
        keep_freed_memory()
    torch.set_num_threads(link.task["threads"])
    run(link)


def run(link: Any) -> None:
    """Train on `link.task`, asking `link` before and after every step.

    Args:
        link: a `Link`, or what answers like one.
    """
    task = link.task
    stage, options = task["stage"], task["options"]
    trainer_class, config_class, row_of = STAGES[stage]
    if stage == "sft":
        options["setting"]["dataset_kwargs"] = {"skip_prepare_dataset": True}
    args = config_class(
        output_dir=task["scratch"],
        max_steps=task["steps"],
        per_device_train_batch_size=options["micro_batch"],
        gradient_accumulation_steps=task["batch"] // options["micro_batch"],
        max_length=None,
        train_sampling_strategy="sequential",
        learning_rate=options["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        bf16=task.get("precision", "fp32") != "fp32",
        use_cpu=task.get("accelerator", "cpu") == "cpu",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options["setting"],
    )
    trainer = stepped(trainer_class, link, CHECKED[stage])(
        model=task["model"],
        args=args,
        train_dataset=Dataset.from_list([row_of(example) for example in task["examples"]]),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
    )
    prepares = stage == "dpo" and args.precompute_ref_log_probs
    trainer.add_callback(OneByOne(link, trainer.checks, waits=not prepares))
    trainer.train()


if __name__ == "__main__":
    main()
