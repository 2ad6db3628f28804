"""What TRL's on-policy trainers make of random inputs: run by `make_golden.py`, in TRL's environment."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from golden_trl import trl_tiny
from inputs import Draw, gradients
from torch import Tensor

EPISODES, SAMPLES, WIDTH = 6, 3, 7
"""Responses, how many of them a prompt has, and the longest of them in tokens."""

GRPO: list[dict[str, Any]] = [
    {"loss_type": "grpo", "beta": 0.0},
    {"loss_type": "grpo", "beta": 0.1, "epsilon_high": 0.28},
    {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": True},
    {"loss_type": "dr_grpo", "beta": 0.04},
    {"loss_type": "dapo", "beta": 0.0, "epsilon_high": 0.28, "delta": 1.5},
    {"loss_type": "dapo", "beta": 0.04},
    {"loss_type": "bnpo", "beta": 0.04, "epsilon": 0.1},
    {"loss_type": "cispo", "beta": 0.0, "epsilon_high": 1.3},
    {"loss_type": "cispo", "beta": 0.04, "epsilon_high": 5.0},
    {"loss_type": "grpo", "beta": 0.0, "importance_sampling_level": "sequence", "epsilon": 0.05, "epsilon_high": 0.1},
    {"loss_type": "grpo", "beta": 0.04, "importance_sampling_level": "sequence", "epsilon": 0.1},
]


def made(trainer: Any, config: Any, **options: Any) -> Any:
    """A trainer whose models are of no account: their log-probabilities are put in place of what they say."""
    from transformers import GPT2LMHeadModel

    tokenizer, sizes, data = trl_tiny()
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            folder,
            use_cpu=True,
            bf16=False,
            report_to="none",
            num_generations=SAMPLES,
            per_device_train_batch_size=EPISODES,
            max_completion_length=WIDTH,
            **options,
        )
        found = trainer(
            GPT2LMHeadModel(sizes),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=args,
            train_dataset=data,
            processing_class=tokenizer,
        )
    found.current_gradient_accumulation_steps = 1
    found.model.train()
    return found


def responses(draw: Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities under policy, sampler and reference, [E, L] each, and the mask. Padding holds numbers too."""
    mask = torch.arange(WIDTH)[None, :] < draw.lengths(EPISODES, 1, WIDTH)[:, None]
    old = draw.normal(EPISODES, WIDTH, mean=-2.0)
    logprobs = (old + draw.normal(EPISODES, WIDTH, scale=0.4)).requires_grad_()
    return logprobs, old, old + draw.normal(EPISODES, WIDTH, scale=0.3), mask


def trl_grpo() -> list[dict[str, Any]]:
    """`GRPOTrainer._compute_loss` by loss type; advantages are given, see `trl_group_advantages`."""
    from trl import GRPOConfig, GRPOTrainer

    draw, cases = Draw(11), []
    for options in GRPO:
        options = {"use_bias_correction_kl": False} | options
        # With beta > 0 the constructor loads a reference by its name; what it would say is given below.
        trainer = made(GRPOTrainer, GRPOConfig, **(options | {"beta": 0.0}))
        trainer.beta = options["beta"]
        logprobs, old, reference, mask = responses(draw)
        advantages = draw.normal(EPISODES)
        trainer._get_per_token_logps_and_entropies = lambda *_, said=logprobs, **__: (
            said,
            torch.zeros_like(said),
            None,
        )
        inputs = {
            "prompt_ids": torch.zeros(EPISODES, 1, dtype=torch.long),
            "prompt_mask": torch.ones(EPISODES, 1, dtype=torch.long),
            "completion_ids": torch.zeros(EPISODES, WIDTH, dtype=torch.long),
            "completion_mask": mask.long(),
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            # Of the batch, of which one optimiser step takes all.
            "num_items_in_batch": mask.sum() * trainer.args.steps_per_generation,
        }
        loss = trainer._compute_loss(trainer.model, inputs)
        (gradient,) = gradients(loss, logprobs)
        defaults = {"epsilon": 0.2, "epsilon_high": None, "delta": None, "importance_sampling_level": "token"}
        cases.append(
            defaults
            | options
            | {
                "longest": WIDTH,
                "logprobs": logprobs,
                "old_logprobs": old,
                "reference_logprobs": reference,
                "mask": mask,
                "advantages": advantages,
                "expected_loss": loss,
                "expected_gradient": gradient,
            }
        )
    return cases


def trl_rloo() -> list[dict[str, Any]]:
    """`RLOOTrainer._compute_loss`: the clipped ratio of whole responses."""
    from trl import RLOOConfig, RLOOTrainer

    draw, cases = Draw(12), []
    for epsilon, high in ((0.2, 0.2), (0.3, 0.5)):
        trainer = made(RLOOTrainer, RLOOConfig, epsilon=epsilon, epsilon_high=high, beta=0.0)
        logprobs, old, _, mask = responses(draw)
        advantages = draw.normal(EPISODES)
        trainer._get_per_token_logps_and_entropies = lambda *_, said=logprobs, **__: (
            said,
            torch.zeros_like(said),
            None,
        )
        inputs = {
            "prompt_ids": torch.zeros(EPISODES, 1, dtype=torch.long),
            "prompt_mask": torch.ones(EPISODES, 1, dtype=torch.long),
            "completion_ids": torch.zeros(EPISODES, WIDTH, dtype=torch.long),
            "completion_mask": mask.long(),
            "advantages": advantages,
            "old_logps": (old * mask).sum(-1),
        }
        loss = trainer._compute_loss(trainer.model, inputs)
        (gradient,) = gradients(loss, logprobs)
        cases.append(
            {
                "epsilon": epsilon,
                "epsilon_high": high,
                "logprobs": logprobs,
                "old_logprobs": old,
                "mask": mask,
                "advantages": advantages,
                "expected_loss": loss,
                "expected_gradient": gradient,
            }
        )
    return cases


def trl_group_advantages() -> list[dict[str, Any]]:
    """TRL computes advantages in the middle of its rollout; what it calls there is `nanstd`, and 1e-4 is added."""
    from trl.trainer.utils import nanstd

    draw, cases = Draw(13), []
    for scale in ("group", "batch", "none"):
        rewards = draw.normal(4, SAMPLES, scale=2.0)
        deviation = {"group": nanstd(rewards, dim=1, keepdim=True), "batch": nanstd(rewards)}.get(scale)
        centred = rewards - rewards.mean(1, keepdim=True)
        cases.append(
            {
                "scale": scale,
                "rewards": rewards,
                "expected": centred if deviation is None else centred / (deviation + 1e-4),
            }
        )
    return cases


MAKERS = {"grpo": trl_grpo, "rloo": trl_rloo, "group_advantages": trl_group_advantages}
PACKAGES = ("trl", "transformers", "torch")
