"""What TRL makes of random inputs: run by `make_golden.py`, in TRL's environment."""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from inputs import Draw, columns, gradients
from torch import Tensor


class Said(torch.nn.Module):
    """A model whose log-probabilities are given, so that a trainer's loss can be fed any numbers."""

    def __init__(self, logprobs: Tensor) -> None:
        super().__init__()
        self.logprobs = torch.nn.Parameter(logprobs)

    def forward(self, **_: Any) -> SimpleNamespace:
        zeros = torch.zeros_like(self.logprobs)
        return SimpleNamespace(log_probs=self.logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


class Scored(torch.nn.Module):
    """A reward model whose scores are given."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(scores[:, None])

    def forward(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.scores)


def trl_tiny() -> tuple[Any, Any, Any]:
    """What the trainers' constructors ask for: a tokenizer, a configuration, a data set of one pair."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<pad>", "<eos>", "a", "b", "c"])}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    config = GPT2Config(vocab_size=5, n_positions=64, n_embd=8, n_layer=1, n_head=1, pad_token_id=0)
    config.num_labels = 1
    return tokenizer, config, Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])


def trl_dpo() -> list[dict[str, Any]]:
    """Loss, implicit rewards and gradients of `DPOTrainer._compute_loss`, pair by pair: it only returns means."""
    from transformers import GPT2LMHeadModel
    from trl import DPOConfig, DPOTrainer

    tokenizer, config, data = trl_tiny()
    draw, pairs, width = Draw(1), 12, 9
    cases = []
    for loss, beta in (("sigmoid", 0.1), ("sigmoid", 0.5), ("ipo", 0.1), ("ipo", 0.6), ("hinge", 0.1), ("hinge", 0.5)):
        with tempfile.TemporaryDirectory() as folder:
            trainer = DPOTrainer(
                GPT2LMHeadModel(config),
                GPT2LMHeadModel(config),
                args=DPOConfig(folder, loss_type=[loss], beta=beta, use_cpu=True, bf16=False, report_to="none"),
                train_dataset=data,
                processing_class=tokenizer,
            )
        rows: list[dict[str, Any]] = []
        for _ in range(pairs):
            lengths = draw.lengths(2, 1, width)
            # One prompt token, then the responses, padded on the right; `log_probs` are those of positions 1, 2, …
            completion = torch.arange(width)[None, :] < lengths[:, None]
            mask = torch.cat([torch.zeros(2, 1, dtype=torch.bool), completion], dim=1).long()
            policy = Said(draw.normal(2, width, mean=-2.0) * completion)
            trainer.ref_model = Said(draw.normal(2, width, mean=-2.0) * completion)
            inputs = {"input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": mask}
            trainer._metrics["train"].clear()
            value = trainer._compute_loss(policy, inputs, return_outputs=False)
            # All tokens of a response have the same gradient, that of the sum; the first is always a real one.
            chosen_gradient, rejected_gradient = gradients(value, policy.logprobs)[0][:, 0]
            metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
            rows.append(
                {
                    "policy_chosen": policy.logprobs[0].sum(),
                    "policy_rejected": policy.logprobs[1].sum(),
                    "reference_chosen": trainer.ref_model.logprobs[0].sum(),
                    "reference_rejected": trainer.ref_model.logprobs[1].sum(),
                    "chosen_length": lengths[0],
                    "rejected_length": lengths[1],
                    "expected_loss": value,
                    "expected_chosen_reward": metrics["rewards/chosen"],
                    "expected_rejected_reward": metrics["rewards/rejected"],
                    "expected_chosen_gradient": chosen_gradient,
                    "expected_rejected_gradient": rejected_gradient,
                }
            )
        cases.append({"loss": loss, "beta": beta} | columns(rows))
    return cases


def trl_reward() -> list[dict[str, Any]]:
    """`RewardTrainer.compute_loss`: the mean Bradley–Terry loss, with and without margins."""
    from transformers import GPT2ForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    tokenizer, config, data = trl_tiny()
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            GPT2ForSequenceClassification(config),
            args=RewardConfig(folder, use_cpu=True, bf16=False, report_to="none", center_rewards_coefficient=None),
            train_dataset=data,
            processing_class=tokenizer,
        )
    draw, pairs = Draw(2), 16
    cases = []
    for with_margin in (False, True):
        scores = draw.normal(2 * pairs, scale=2.0)
        inputs: dict[str, Any] = {"attention_mask": torch.ones(2 * pairs, 1, dtype=torch.long)}
        margin = draw.normal(pairs).abs() if with_margin else None
        if with_margin:
            inputs["margin"] = margin
        model = Scored(scores)
        trainer._metrics["train"].clear()
        loss = trainer.compute_loss(model, inputs)
        (gradient,) = gradients(loss, model.scores)
        cases.append(
            {
                "chosen": scores[:pairs],
                "rejected": scores[pairs:],
                "margin": margin,
                "expected_mean_loss": loss,
                "expected_chosen_gradient": gradient[:pairs, 0],
                "expected_accuracy": trainer._metrics["train"]["accuracy"][0],
            }
        )
    return cases


MAKERS = {"dpo": trl_dpo, "reward": trl_reward}
PACKAGES = ("trl", "transformers", "torch")
