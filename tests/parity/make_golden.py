"""Makes the golden values in `golden/` with other people's libraries, each in an environment of its own.

    python -m venv trl && trl/bin/pip install -r tests/parity/requirements-trl.txt
    trl/bin/python tests/parity/make_golden.py trl

    python -m venv torchtune && torchtune/bin/pip install -r tests/parity/requirements-torchtune.txt
    torchtune/bin/python tests/parity/make_golden.py torchtune

Python 3.11 to 3.13. Where a convention differs from ours it is translated here, or in `test_parity.py` where only our
side can follow, with a comment; the libraries' own code is called as it is. Inputs are random, in fp64, and rounded to
what the file holds before they are used. Nothing here imports `rlhf`.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


class Draw:
    """Random inputs that the golden file holds exactly: six decimals."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
        x = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale + mean
        return torch.round(x, decimals=6)

    def lengths(self, n: int, low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n,), generator=self.generator)


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs))


# --------------------------------------------------------------------------------------------------------------- trl


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


# --------------------------------------------------------------------------------------------------------- torchtune


def torchtune_ppo() -> list[dict[str, Any]]:
    """`PPOLoss`: mean policy and value loss, clip fraction, mean ratio, and gradients."""
    from torchtune.rlhf.loss import PPOLoss

    draw, n = Draw(3), 40
    cases = []
    for epsilon, clip_value in ((0.2, 0.2), (0.05, 1.0)):
        old_logprobs, old_values = draw.normal(n, mean=-2.0), draw.normal(n)
        logprobs = (old_logprobs + draw.normal(n, scale=0.2)).requires_grad_()
        values = (old_values + draw.normal(n, scale=0.4)).requires_grad_()
        advantages, returns = draw.normal(n), draw.normal(n)
        # Only the total carries a gradient; with a coefficient of 1 it is the sum of both parts.
        both = PPOLoss(epsilon, clip_value, value_coeff=1.0)
        loss, policy, value, ratio, clip_fraction = both(
            old_logprobs, logprobs, advantages, old_values, values, returns
        )
        logprobs_gradient, values_gradient = gradients(loss, logprobs, values)
        cases.append(
            {
                "clip_epsilon": epsilon,
                "clip_value": clip_value,
                "logprobs": logprobs,
                "old_logprobs": old_logprobs,
                "advantages": advantages,
                "values": values,
                "old_values": old_values,
                "returns": returns,
                "expected_mean_policy_loss": policy,
                "expected_mean_value_loss": value,
                "expected_mean_ratio": ratio,
                "expected_clip_fraction": clip_fraction,
                "expected_logprobs_gradient": logprobs_gradient,
                "expected_values_gradient": values_gradient,
            }
        )
    return cases


def torchtune_rewards() -> list[dict[str, Any]]:
    """`get_rewards_ppo`. It has no mask, only the index of the last token: ours is the mask up to that index."""
    from torchtune.rlhf import get_rewards_ppo

    draw, episodes, width = Draw(4), 6, 8
    cases = []
    for kl_coef in (0.05, 0.7):
        lengths = draw.lengths(episodes, 1, width)
        mask = torch.arange(width)[None, :] < lengths[:, None]
        scores, logprobs, reference = draw.normal(episodes), draw.normal(episodes, width), draw.normal(episodes, width)
        # Padding: torchtune leaves whatever KL stands there, and its recipe zeroes log-probabilities first; ours masks.
        total, _, _ = get_rewards_ppo(scores, logprobs * mask, reference * mask, kl_coef, lengths - 1)
        cases.append(
            {
                "kl_coef": kl_coef,
                "scores": scores,
                "logprobs": logprobs,
                "reference_logprobs": reference,
                "mask": mask,
                "expected_rewards": total,
            }
        )
    return cases


def torchtune_gae() -> list[dict[str, Any]]:
    """`estimate_advantages`: returns, and its own whitening."""
    from torchtune.rlhf import estimate_advantages

    draw, episodes, width = Draw(5), 6, 8
    cases = []
    for gamma, lam in ((1.0, 0.95), (0.9, 0.5), (1.0, 1.0)):
        lengths = draw.lengths(episodes, 1, width)
        mask = torch.arange(width)[None, :] < lengths[:, None]
        rewards, values = draw.normal(episodes, width), draw.normal(episodes, width)
        # torchtune runs through padding and relies on zeros there (its recipe fills them in); ours masks. It whitens
        # inside, with n − 1 and the mean added back (its `shift_mean=True` is our `mean_shift=False`): the test follows
        # by handing ours that variance. Unwhitened advantages are returns − values.
        whitened, returns = estimate_advantages(values * mask, rewards * mask, gamma, lam, masks=mask)
        cases.append(
            {
                "gamma": gamma,
                "lam": lam,
                "rewards": rewards,
                "values": values,
                "mask": mask,
                "expected_returns": returns,
                "expected_advantages": returns - values * mask,
                "expected_whitened": whitened,
            }
        )
    return cases


def torchtune_dpo() -> list[dict[str, Any]]:
    """`DPOLoss` has the label smoothing that TRL's sigmoid ignores; `RSOLoss` is the hinge."""
    from torchtune.rlhf.loss import DPOLoss, RSOLoss

    draw, pairs = Draw(6), 16
    cases = []
    for loss, beta, smoothing in (
        ("sigmoid", 0.1, 0.0),
        ("sigmoid", 0.3, 0.1),
        ("sigmoid", 0.1, 0.4),
        ("hinge", 0.2, 0.0),
    ):
        sums = [draw.normal(pairs, scale=6.0, mean=-30.0) for _ in range(4)]
        sums[0].requires_grad_()
        module = DPOLoss(beta, smoothing) if loss == "sigmoid" else RSOLoss(gamma=beta)
        losses, chosen_rewards, rejected_rewards = module(*sums)
        (gradient,) = gradients(losses.sum(), sums[0])
        names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
        cases.append(
            {"loss": loss, "beta": beta, "label_smoothing": smoothing}
            | dict(zip(names, sums, strict=True))
            | {
                "expected_loss": losses,
                "expected_chosen_gradient": gradient,
                "expected_chosen_reward": chosen_rewards,
                "expected_rejected_reward": rejected_rewards,
            }
        )
    return cases


# --------------------------------------------------------------------------------------------------------------------


def columns(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}


def plain(x: Any) -> Any:
    """Ten digits: two more than the comparison needs, and files stay small."""
    if isinstance(x, Tensor):
        return plain(x.detach().int().tolist() if x.dtype == torch.bool else x.detach().tolist())
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list):
        return [plain(value) for value in x]
    return float(f"{x:.10g}") if isinstance(x, float) else x


MAKERS: dict[str, dict[str, Callable[[], list[dict[str, Any]]]]] = {
    "trl": {"dpo": trl_dpo, "reward": trl_reward},
    "torchtune": {
        "ppo": torchtune_ppo,
        "rewards": torchtune_rewards,
        "gae": torchtune_gae,
        "dpo": torchtune_dpo,
    },
}


def write(library: str) -> Path:
    packages = {"trl": ("trl", "transformers", "torch"), "torchtune": ("torchtune", "torchao", "torch")}[library]
    golden: dict[str, Any] = {"made_with": {p: version(p) for p in packages} | {"python": platform.python_version()}}
    golden |= {name: plain(make()) for name, make in MAKERS[library].items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    path = GOLDEN / f"{library}.json"
    path.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=sorted(MAKERS))
    torch.set_num_threads(1)
    print(write(parser.parse_args().library))
