"""What TRL makes of random inputs without a reference or pairs: run by `make_golden.py`, in TRL's environment."""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from golden_trl import trl_tiny
from inputs import Draw, columns, gradients
from torch import Tensor


class SaidInLogits(torch.nn.Module):
    """A model over two tokens whose logits are log-probabilities: token 0 has the given one, token 1 the rest.

    The softmax leaves them as they are, and so does its gradient: what TRL's own code does to logits ends at them.
    """

    def __init__(self, logprobs: Tensor) -> None:
        super().__init__()
        self.logprobs = torch.nn.Parameter(logprobs)

    def forward(self, *_: Any, **__: Any) -> SimpleNamespace:
        logits = torch.stack([self.logprobs, torch.log(-torch.expm1(self.logprobs))], dim=-1)
        return SimpleNamespace(logits=torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1))


def padded(length: int, width: int, fill: int) -> Tensor:
    """One line: a token of prompt, `length` tokens of response, then padding."""
    return torch.tensor([[0] * (1 + length) + [fill] * (width - length)])


def trl_reference_free() -> list[dict[str, Any]]:
    """Whole loss, rewards and gradients of `CPOTrainer` and `ORPOTrainer`, pair by pair: they average over tokens."""
    from transformers import GPT2LMHeadModel
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    tokenizer, config, data = trl_tiny()
    draw, pairs, width = Draw(7), 10, 9
    cases = []
    for method, options in (
        ("simpo", {"beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0, "label_smoothing": 0.0}),
        ("simpo", {"beta": 2.5, "simpo_gamma": 0.3, "cpo_alpha": 0.5, "label_smoothing": 0.1}),
        ("cpo", {"beta": 0.1, "cpo_alpha": 1.0, "label_smoothing": 0.0}),
        ("cpo", {"beta": 0.4, "cpo_alpha": 0.3, "label_smoothing": 0.2}),
        ("orpo", {"beta": 0.1}),
        ("orpo", {"beta": 0.7}),
    ):
        common = {"use_cpu": True, "bf16": False, "report_to": "none", "max_length": 32}
        with tempfile.TemporaryDirectory() as folder:
            made: Any
            if method == "orpo":
                made = ORPOTrainer(
                    GPT2LMHeadModel(config),
                    args=ORPOConfig(folder, **options, **common),
                    train_dataset=data,
                    processing_class=tokenizer,
                )
            else:
                loss_type = {"simpo": "simpo", "cpo": "sigmoid"}[method]
                made = CPOTrainer(
                    GPT2LMHeadModel(config),
                    args=CPOConfig(folder, loss_type=loss_type, **options, **common),
                    train_dataset=data,
                    processing_class=tokenizer,
                )
        rows: list[dict[str, Any]] = []
        for _ in range(pairs):
            lengths = draw.lengths(2, 1, width)
            policy = SaidInLogits(-draw.normal(2, width, scale=1.5).abs() - 0.01)
            batch: dict[str, Any] = {}
            for side, length in zip(("chosen", "rejected"), lengths.tolist(), strict=True):
                batch[f"{side}_input_ids"] = padded(length, width, 0)
                batch[f"{side}_attention_mask"] = (padded(length, width, -1) >= 0).long()
                labels = padded(length, width, -100)
                labels[:, 0] = -100  # the prompt
                batch[f"{side}_labels"] = labels
            loss, metrics = made.get_batch_loss_metrics(policy, batch)
            # All tokens of a response have the same gradient, that of the sum; the first is always a real one.
            chosen_gradient, rejected_gradient = gradients(loss, policy.logprobs)[0][:, 0]
            real = torch.arange(width)[None, :] < lengths[:, None]
            sums = (policy.logprobs * real).sum(-1)
            rows.append(
                {
                    "chosen": sums[0],
                    "rejected": sums[1],
                    "chosen_length": lengths[0],
                    "rejected_length": lengths[1],
                    "expected_loss": loss,
                    "expected_chosen_reward": metrics["rewards/chosen"],
                    "expected_rejected_reward": metrics["rewards/rejected"],
                    "expected_chosen_gradient": chosen_gradient,
                    "expected_rejected_gradient": rejected_gradient,
                }
            )
        cases.append({"method": method} | options | columns(rows))
    return cases


MAKERS = {"reference_free": trl_reference_free}
PACKAGES = ("trl", "transformers", "torch")
