"""What a policy's own samples teach it: losses of the probability ratio, per token or per response."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from rlhf.objectives.kl import k3
from rlhf.objectives.numeric import widen

Aggregate = Literal["token", "sequence", "constant", "sum"]
"""What losses of tokens are a mean over, see `token_weights`."""


class PolicyLoss(NamedTuple):
    """Per token [N], or per response [R] where the ratio is a response's; only `losses` carries a gradient.

    `clipped` is true where clipping decided the loss (and the gradient is 0), not wherever the ratio left the range.
    `approx_kl` is the k3 estimate of KL(π_old ‖ π), nats; always per token.
    """

    losses: Tensor
    ratio: Tensor
    clipped: Tensor
    approx_kl: Tensor


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    clip_epsilon: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """max(−A·ρ, −A·clip(ρ, 1 − ε, 1 + ε_high)) with ρ = π/π_old (Schulman et al. 2017, eq. 7, negated).

    Args:
        logprobs: [N], of the sampled tokens under the policy, with gradient.
        old_logprobs: [N], under the policy that sampled them, at the same temperature.
        advantages: [N]; no gradient flows into them, nor into `old_logprobs`.
        clip_epsilon: ε ≥ 0.
        clip_high: ε_high ≥ 0 of the upper bound («clip higher», Yu et al. 2025, eq. 10); `None`: ε.
        dual_clip: c > 1; where A < 0 the loss is at most −A·c, however likely the token has become (Ye et al. 2020,
            eq. 5). `None`: no such bound.
    """
    logprobs, old_logprobs = widen(logprobs), widen(old_logprobs).detach()
    losses, ratio, clipped = _clipped(logprobs - old_logprobs, advantages, clip_epsilon, clip_high, dual_clip)
    return PolicyLoss(losses, ratio, clipped, k3(old_logprobs, logprobs.detach()))


def response_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    lengths: Tensor,
    clip_epsilon: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    *,
    normalised: bool,
) -> PolicyLoss:
    """`policy_loss` of whole responses, whose ratio is the product of their tokens' ratios.

    - not `normalised`: π(y|x)/π_old(y|x), as in RLOO (Ahmadian et al. 2024, in TRL's clipped form). Its gradient at
      ρ = 1 is that of −A·log π(y|x), REINFORCE on sequences.
    - `normalised`: the geometric mean over the response's tokens, the product's |y|-th root (GSPO, Zheng et al. 2025,
      eq. 7).

    Args:
        logprobs, old_logprobs: [N], as in `policy_loss`; the tokens of each response stand together.
        advantages: [R], one per response.
        lengths: [R] long, tokens of each response, at least 1; their sum is N.
        clip_epsilon, clip_high, dual_clip: see `policy_loss`.

    Returns:
        Losses, ratios and what was clipped, each [R]; `approx_kl` [N].
    """
    logprobs, old_logprobs = widen(logprobs), widen(old_logprobs).detach()
    # In the order of the tokens: on a GPU index_add adds in any order, and a resumed run would end with other bits.
    log_ratio = torch.segment_reduce(logprobs - old_logprobs, "sum", lengths=lengths, unsafe=True)
    if normalised:
        log_ratio = log_ratio / lengths
    losses, ratio, clipped = _clipped(log_ratio, advantages, clip_epsilon, clip_high, dual_clip)
    return PolicyLoss(losses, ratio, clipped, k3(old_logprobs, logprobs.detach()))


def cispo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_high: float) -> PolicyLoss:
    """−sg(min(ρ, 1 + ε_high))·A·log π: the weight is clipped, and no token loses its gradient (MiniMax 2025, eq. 4).

    There is no lower bound, as in the paper's runs. TRL's `epsilon_high` is the bound itself, 1 + ε_high here.

    Args: as `policy_loss`.

    Returns:
        [N] each; `clipped` is true where the weight was clipped.
    """
    logprobs, old_logprobs = widen(logprobs), widen(old_logprobs).detach()
    ratio = torch.exp(logprobs.detach() - old_logprobs)
    weight = ratio.clamp(max=1 + clip_high)
    losses = -weight * widen(advantages).detach() * logprobs
    return PolicyLoss(losses, ratio, ratio > weight, k3(old_logprobs, logprobs.detach()))


def token_weights(lengths: Tensor, response: Tensor, aggregate: Aggregate, longest: int) -> Tensor:
    """How much each token's loss counts in a sum that `denominator` divides.

    - `token`: a mean over all tokens (DAPO, Yu et al. 2025): long responses count more.
    - `sequence`: a mean over each response's tokens, then over responses (GRPO, Shao et al. 2024): a token of a long
      response counts less.
    - `constant`: a sum over each response's tokens over a constant, then a mean over responses (Dr. GRPO, Liu et al.
      2025): no token's weight depends on its response's length.
    - `sum`: a sum over each response's tokens, then a mean over responses: the gradient of an expectation.

    Args:
        lengths: [R], tokens of each response.
        response: [N], the response of each token.
        longest: the constant, tokens that a response may have.

    Returns:
        [N], fp32.

    Raises:
        ValueError: an unknown aggregate.
    """
    if aggregate not in get_args(Aggregate):
        raise ValueError(f"aggregate is {aggregate!r}; it must be one of {', '.join(get_args(Aggregate))}")
    ones = torch.ones(len(response), device=response.device)
    if aggregate == "sequence":
        return ones / lengths[response]
    return ones / longest if aggregate == "constant" else ones


def denominator(n_tokens: int, n_responses: int, aggregate: Aggregate) -> float:
    """What a micro-batch adds to the divisor of the weighted sum: its tokens, or its responses."""
    return float(n_tokens if aggregate == "token" else n_responses)


def _clipped(
    log_ratio: Tensor, advantages: Tensor, low: float, high: float | None, dual: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, ratios and where the clip decided."""
    advantages = widen(advantages).detach()
    ratio = torch.exp(log_ratio)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - low, 1 + (low if high is None else high))
    losses = torch.maximum(plain, clipped)
    decided = clipped.detach() > plain.detach()
    if dual is not None:
        bound = -advantages * dual
        beyond = (advantages < 0) & (losses.detach() > bound)
        losses, decided = torch.where(beyond, bound, losses), decided | beyond
    return losses, ratio.detach(), decided
