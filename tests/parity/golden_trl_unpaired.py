"""What TRL makes of random inputs without a reference or pairs: run by `make_golden.py`, in TRL's environment."""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from golden_trl import Scored, trl_tiny
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


class SaidOfBoth(torch.nn.Module):
    """A policy whose log-probabilities of labelled (token 0) and mismatched (token 1) responses are given."""

    def __init__(self, logprobs: Tensor, mismatched: Tensor) -> None:
        super().__init__()
        self.logprobs, self.mismatched = torch.nn.Parameter(logprobs), torch.nn.Parameter(mismatched)

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        said = self.mismatched if input_ids.any() else self.logprobs
        return SimpleNamespace(log_probs=said, entropy=torch.zeros_like(said), mean_logits=torch.zeros_like(said))


def trl_kto() -> list[dict[str, Any]]:
    """`KTOTrainer._compute_loss`: mean loss of a batch with its KL estimate, and gradients."""
    from datasets import Dataset
    from transformers import GPT2LMHeadModel
    from trl import KTOConfig, KTOTrainer

    tokenizer, config, _ = trl_tiny()
    data = Dataset.from_list([{"prompt": "a", "completion": " b", "label": label} for label in (True, False)])
    draw, responses, width = Draw(8), 8, 7
    cases = []
    # Means of the policy's mismatched log-ratios: above 0, and below it, where the estimate is clamped.
    for loss, beta, good, bad, shift in (
        ("kto", 0.1, 1.0, 1.0, 0.8),
        ("kto", 0.5, 1.3, 0.7, 0.2),
        ("kto", 0.3, 1.0, 1.0, -0.8),
        ("apo_zero_unpaired", 0.3, 1.0, 2.0, 0.8),
    ):
        with tempfile.TemporaryDirectory() as folder:
            made = KTOTrainer(
                GPT2LMHeadModel(config),
                GPT2LMHeadModel(config),
                args=KTOConfig(
                    folder, loss_type=loss, beta=beta, desirable_weight=good, undesirable_weight=bad, use_cpu=True,
                    bf16=False, report_to="none", train_sampling_strategy="sequential",
                    per_device_train_batch_size=2,
                ),
                train_dataset=data,
                processing_class=tokenizer,
            )  # fmt: skip
        real = torch.arange(width)[None, :] < draw.lengths(responses, 1, width)[:, None]
        policy = SaidOfBoth(
            draw.normal(responses, width, mean=-2.0) * real, draw.normal(responses, width, mean=-2.0 + shift) * real
        )
        reference, other_reference = (draw.normal(responses, width, mean=-2.0) * real for _ in range(2))
        label = draw.lengths(responses, 0, 1).bool()
        mask = torch.cat([torch.zeros(responses, 1, dtype=torch.bool), real], dim=1).long()
        batch = {
            "input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": mask,
            "KL_input_ids": torch.ones_like(mask), "KL_attention_mask": mask, "KL_completion_mask": mask,
            "label": label, "ref_logps": reference.sum(-1), "ref_KL_logps": other_reference.sum(-1),
        }  # fmt: skip
        made.precompute_ref_logps = True
        made._metrics["train"].clear()
        made._metrics["eval"].clear()
        value = made._compute_loss(policy, batch, return_outputs=False)
        metrics = {**made._metrics["train"], **made._metrics["eval"]}
        cases.append(
            {
                "loss": loss,
                "beta": beta,
                "desirable_weight": good,
                "undesirable_weight": bad,
                "policy": policy.logprobs.sum(-1),
                "reference": reference.sum(-1),
                "mismatched_policy": policy.mismatched.sum(-1),
                "mismatched_reference": other_reference.sum(-1),
                "desirable": label,
                "expected_kl": metrics["kl"][0],
                "expected_mean_loss": value,
                "expected_gradient": gradients(value, policy.logprobs)[0][:, 0],
                "expected_desirable_reward": metrics["rewards/chosen"][0],
                "expected_undesirable_reward": metrics["rewards/rejected"][0],
            }
        )
    return cases


def trl_centred_reward() -> list[dict[str, Any]]:
    """`RewardTrainer.compute_loss` with its centring loss, with and without margins."""
    from transformers import GPT2ForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    tokenizer, config, data = trl_tiny()
    draw, pairs = Draw(9), 10
    cases = []
    for coef, with_margin in ((0.01, False), (0.3, True)):
        with tempfile.TemporaryDirectory() as folder:
            made = RewardTrainer(
                GPT2ForSequenceClassification(config),
                args=RewardConfig(folder, use_cpu=True, bf16=False, report_to="none", center_rewards_coefficient=coef),
                train_dataset=data,
                processing_class=tokenizer,
            )
        scores = draw.normal(2 * pairs, scale=2.0, mean=1.0)
        margin = draw.normal(pairs).abs()
        inputs = {"attention_mask": torch.ones(2 * pairs, 1, dtype=torch.long)}
        model = Scored(scores)
        loss = made.compute_loss(model, inputs | ({"margin": margin} if with_margin else {}))
        gradient = gradients(loss, model.scores)[0][:, 0]
        cases.append(
            {
                "center_coef": coef,
                "chosen": scores[:pairs],
                "rejected": scores[pairs:],
                "margin": margin if with_margin else None,
                "expected_mean_loss": loss,
                "expected_chosen_gradient": gradient[:pairs],
                "expected_rejected_gradient": gradient[pairs:],
            }
        )
    return cases


MAKERS = {"reference_free": trl_reference_free, "kto": trl_kto, "reward": trl_centred_reward}
PACKAGES = ("trl", "transformers", "torch")
