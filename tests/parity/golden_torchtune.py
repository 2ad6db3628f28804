"""What torchtune makes of random inputs: run by `make_golden.py`, in torchtune's environment."""

from __future__ import annotations

from typing import Any

import torch
from inputs import Draw, gradients


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


MAKERS = {"ppo": torchtune_ppo, "rewards": torchtune_rewards, "gae": torchtune_gae, "dpo": torchtune_dpo}
PACKAGES = ("torchtune", "torchao", "torch")
