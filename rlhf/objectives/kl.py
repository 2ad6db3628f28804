"""KL to the reference: estimates from the sampled token, the exact value, and who sets its price."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from rlhf.objectives.numeric import widen


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """log π − log π_ref of the sampled tokens: unbiased for KL(π ‖ π_ref), of either sign (Schulman 2020).

    Args:
        logprobs, reference_logprobs: same shape, of tokens sampled from π.

    Returns:
        The same shape, nats, unreduced.
    """
    return widen(logprobs) - widen(reference_logprobs)


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """½(log π − log π_ref)²: biased, never negative, of low variance (Schulman 2020). Shapes as in `k1`."""
    return 0.5 * k1(logprobs, reference_logprobs).square()


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """r − 1 − log r with r = π_ref/π: unbiased for KL(π ‖ π_ref) and never negative (Schulman 2020). Shapes as in `k1`.

    Good to look at; not to be put into the reward in place of k1, since its gradient through the samples is not KL's.
    """
    log_ratio = -k1(logprobs, reference_logprobs)
    return torch.expm1(log_ratio) - log_ratio


def weighted_k3(logprobs: Tensor, reference_logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """ρ·k3 with ρ = π/π_old, with gradient (DeepSeek-AI 2025, «DeepSeek-V3.2»; TRL's default for GRPO).

    As a loss its gradient is that of KL(π ‖ π_ref) at each token, also off-policy; the gradient of k3 alone is that of
    KL(π_ref ‖ π). Shapes as in `k1`; no gradient flows into `old_logprobs`.
    """
    return torch.exp(k1(logprobs, old_logprobs.detach())) * k3(logprobs, reference_logprobs)


def full_kl(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Σ_v π(v)·(log π(v) − log π_ref(v)): the exact KL(π ‖ π_ref) at each position; differentiable.

    Args:
        logits, reference_logits: [..., V], divided by the temperature already. A token that π can't say (logit −∞)
            adds nothing, whatever the reference says of it.

    Returns:
        [...], nats, fp32; +∞ where π says what the reference can't.
    """
    logprobs = torch.log_softmax(widen(logits), dim=-1)
    reference = torch.log_softmax(widen(reference_logits), dim=-1)
    # Without the mask, 0 · (−∞ − …) would be NaN, forward and backward.
    difference = (logprobs - reference).masked_fill(logprobs == -math.inf, 0)
    return (logprobs.exp() * difference).sum(-1)


class KLController(Protocol):
    """Sets the price of a nat of KL, iteration by iteration."""

    value: float

    def update(self, kl: float, n: int) -> float:
        """Tell the controller what an iteration measured; returns the coefficient from now on.

        Args:
            kl: mean KL(π ‖ π_ref) of a response (nats, summed over its tokens), over all ranks.
            n: episodes measured, over all ranks.
        """

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, float]) -> None: ...


class FixedKL:
    """A coefficient that stays: needed wherever the optimum should be the known one."""

    def __init__(self, value: float) -> None:
        self.value = value

    def update(self, kl: float, n: int) -> float:
        return self.value

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value = float(state["value"])


class AdaptiveKL:
    """Raises the coefficient while KL is above its target and lowers it below (Ziegler et al. 2019, §2.2).

    e = clip(kl/target − 1, −0.2, 0.2);  coefficient ← coefficient · (1 + e·n/horizon).

    Args:
        value: the coefficient to start from, > 0.
        target: KL to hold, nats per response, > 0.
        horizon: episodes over which the coefficient may change by 20%, > 0.

    Raises:
        ValueError: one of them is not positive.
    """

    CLIP = 0.2

    def __init__(self, value: float, target: float, horizon: float) -> None:
        for name, number in (("value", value), ("target", target), ("horizon", horizon)):
            if not number > 0:
                raise ValueError(f"{name} is {number}; it must be greater than 0")
        self.value = value
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, n: int) -> float:
        """See `KLController.update`.

        Raises:
            ValueError: `kl` is not finite, or one iteration has so many episodes that the coefficient could fall to 0.
        """
        if not math.isfinite(kl):
            raise ValueError(f"kl is {kl}; it must be finite")
        if n * self.CLIP >= self.horizon:
            raise ValueError(f"horizon is {self.horizon:g}; with {n} episodes it must be above {n * self.CLIP:g}")
        error = min(max(kl / self.target - 1, -self.CLIP), self.CLIP)
        self.value *= 1 + error * n / self.horizon
        return self.value

    def state_dict(self) -> dict[str, float]:
        """The coefficient alone: target and horizon are configuration."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value = float(state["value"])
