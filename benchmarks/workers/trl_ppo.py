"""TRL's PPO trainer (the last release that has one), unchanged, one iteration for every order.

It draws its own responses and says which, so that our side can compute its losses on the same ones.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.workers.protocol import Link
from verbs.allocator import keep_freed_memory

CHECKED = {"reward": "objective/rlhf_reward", "policy_loss": "loss/policy_avg", "value_loss": "loss/value_avg"}
"""What both sides must agree on, and what TRL calls it."""


class Noting(PPOTrainer):
    """Notes the last iteration's metrics."""

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        self.noted = dict(logs)


class OneByOne(TrainerCallback):
    """A step is all from one iteration's end to the next, as on our side."""

    def __init__(self, link: Link, eos: int) -> None:
        self.link, self.eos = link, eos
        self.drawn: list[list[int]] = []
        self.trainer: Any = None

    def on_train_begin(self, *args: Any, **options: Any) -> None:
        self.link.ready(prepares=False)

    def on_step_end(self, *args: Any, **options: Any) -> None:
        responses = [self.ended(tokens) for tokens in self.drawn]
        self.link.done(
            checks={ours: self.trainer.noted[theirs] for ours, theirs in CHECKED.items()}, responses=responses
        )

    def ended(self, tokens: list[int]) -> tuple[list[int], bool]:
        """A response up to its end-of-text, and whether it has one."""
        if self.eos not in tokens:
            return tokens, False
        return tokens[: tokens.index(self.eos) + 1], True

    def note_responses(self) -> None:
        """TRL's trainer keeps what it drew to itself: listen where it asks for it."""
        draw = ppo_trainer.batch_generation

        def listening(model: Any, queries: Any, *args: Any, **options: Any) -> Any:
            found, logits = draw(model, queries, *args, **options)
            self.drawn = found[:, queries.shape[1] :].tolist()
            return found, logits

        ppo_trainer.batch_generation = listening


def main() -> None:
    link = Link()
    task = link.task
    if task["keep_freed_memory"]:
        keep_freed_memory()
    torch.set_num_threads(task["threads"])
    options = task["options"]
    # The reward model's tokenizer, since its pad token is not end-of-text; PPO pads prompts on the left.
    tokenizer = AutoTokenizer.from_pretrained(task["reward_model"], padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(task["reward_model"], dtype=torch.float32) for _ in range(2)
    )
    size = task["batch"]
    args = PPOConfig(
        output_dir=task["scratch"],
        total_episodes=task["steps"] * size,
        per_device_train_batch_size=options["micro_batch"],
        gradient_accumulation_steps=size // options["micro_batch"],
        local_rollout_forward_batch_size=size,
        num_ppo_epochs=options["epochs"],
        num_mini_batches=1,
        num_sample_generations=0,
        response_length=options["new_tokens"],
        stop_token="eos",
        missing_eos_penalty=1.0,
        temperature=1.0,
        kl_coef=0.05,
        vf_coef=0.1,
        learning_rate=options["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        bf16=task.get("precision", "fp32") != "fp32",
        use_cpu=task.get("accelerator", "cpu") == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options["setting"],
    )
    data = Dataset.from_list([{"input_ids": example["prompt"]} for example in task["examples"]])
    waiting = OneByOne(link, tokenizer.eos_token_id)
    trainer = Noting(
        args=args,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=data,
        eval_dataset=data,
        callbacks=[waiting],
    )
    waiting.trainer = trainer
    waiting.note_responses()
    # In the given order: its own loader shuffles.
    trainer.dataloader = DataLoader(data, batch_size=size, collate_fn=trainer.data_collator)
    trainer.train()


if __name__ == "__main__":
    main()
